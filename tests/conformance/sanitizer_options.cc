// Makes sanitizers answer absurd sizes as the system does (no memory) instead of stopping: RefusesAbsurdSizes asks for them.
// Without a sanitizer nobody calls these.
extern "C" {
const char* __asan_default_options() { return "allocator_may_return_null=1"; }
const char* __tsan_default_options() { return "allocator_may_return_null=1"; }
}
