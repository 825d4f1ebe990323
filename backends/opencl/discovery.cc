// Opens the ICD loader and asks every platform for its devices, in a child process before in this one.
#include "backends/opencl/discovery.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <system_error>

#include <dlfcn.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

namespace tessera::opencl {
namespace {

constexpr const char* kInstall = "install ocl-icd-libopencl1 and your device's OpenCL driver";
constexpr Duration kPatience = milliseconds(20'000);  // a GPU without persistence mode takes seconds to start

template <typename T>
T device_value(const Api& api, cl_device_id device, cl_device_info what, T otherwise = {}) {
  T value{};
  return api.clGetDeviceInfo(device, what, sizeof(T), &value, nullptr) == CL_SUCCESS ? value : otherwise;
}

// Of a device or a platform.
template <typename Query, typename Id>
std::string text_of(Query query, Id id, cl_uint what) {
  size_t size = 0;
  if (query(id, what, 0, nullptr, &size) != CL_SUCCESS || size == 0) return "unknown";
  std::string text(size, '\0');
  if (query(id, what, size, text.data(), nullptr) != CL_SUCCESS) return "unknown";
  text.resize(std::strlen(text.c_str()));
  return text;
}

std::vector<cl_platform_id> platforms_of(const Api& api, std::string& why) {
  cl_uint count = 0;
  cl_int code = api.clGetPlatformIDs(0, nullptr, &count);
  std::vector<cl_platform_id> platforms(code == CL_SUCCESS ? count : 0);
  if (!platforms.empty()) code = api.clGetPlatformIDs(count, platforms.data(), nullptr);
  if (code != CL_SUCCESS || platforms.empty()) {
    why = std::string("the OpenCL loader finds no platform") + (code == CL_SUCCESS ? "" : ": " + error_name(code)) + "; " +
          kInstall + " (its .icd file belongs into /etc/OpenCL/vendors)";
    return {};
  }
  return platforms;
}

std::vector<cl_device_id> devices_of(const Api& api, cl_platform_id platform) {
  cl_uint count = 0;
  if (api.clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 0, nullptr, &count) != CL_SUCCESS) return {};
  std::vector<cl_device_id> devices(count);
  if (count == 0 || api.clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, count, devices.data(), nullptr) != CL_SUCCESS)
    return {};
  return devices;
}

bool is_1_2(const std::string& version) {  // "OpenCL 3.0 PoCL ..."
  std::istringstream in(version);
  std::string word;
  int major = 0, minor = 0;
  char dot = 0;
  in >> word >> major >> dot >> minor;
  return word == "OpenCL" && (major > 1 || (major == 1 && minor >= 2));
}

std::string why_unusable(const Api& api, const DeviceFacts& d) {
  if (!is_1_2(d.version)) return "its version is '" + d.version + "', 1.2 is needed";
  if (!device_value<cl_bool>(api, d.id, CL_DEVICE_AVAILABLE)) return "its driver says that it is not available";
  if (!device_value<cl_bool>(api, d.id, CL_DEVICE_COMPILER_AVAILABLE)) return "its driver has no compiler for OpenCL C";
  if (!device_value<cl_bool>(api, d.id, CL_DEVICE_ENDIAN_LITTLE)) return "it is big-endian; stores are little-endian";
  if (d.memory_bytes <= 0 || d.local_bytes <= 0) return "it reports no memory";
  return "";
}

DeviceFacts facts_of(const Api& api, cl_platform_id platform, cl_device_id id) {
  DeviceFacts d;
  d.id = id, d.platform = platform;
  d.platform_name = text_of(api.clGetPlatformInfo, platform, CL_PLATFORM_NAME);
  d.name = text_of(api.clGetDeviceInfo, id, CL_DEVICE_NAME);
  d.vendor = text_of(api.clGetDeviceInfo, id, CL_DEVICE_VENDOR);
  d.version = text_of(api.clGetDeviceInfo, id, CL_DEVICE_VERSION);
  d.driver = text_of(api.clGetDeviceInfo, id, CL_DRIVER_VERSION);
  d.doubles = text_of(api.clGetDeviceInfo, id, CL_DEVICE_EXTENSIONS).find("cl_khr_fp64") != std::string::npos;
  d.type = device_value<cl_device_type>(api, id, CL_DEVICE_TYPE);
  d.unified = device_value<cl_bool>(api, id, CL_DEVICE_HOST_UNIFIED_MEMORY) != 0;
  d.units = std::max(1u, device_value<cl_uint>(api, id, CL_DEVICE_MAX_COMPUTE_UNITS));
  d.megahertz = std::max(1u, device_value<cl_uint>(api, id, CL_DEVICE_MAX_CLOCK_FREQUENCY));
  d.vector_width = std::max(1u, device_value<cl_uint>(api, id, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT));
  d.group_limit = std::max<size_t>(1, device_value<size_t>(api, id, CL_DEVICE_MAX_WORK_GROUP_SIZE));
  const auto bytes = [&](cl_device_info what) {
    return static_cast<int64_t>(std::min<cl_ulong>(device_value<cl_ulong>(api, id, what), INT64_MAX));
  };
  d.local_bytes = bytes(CL_DEVICE_LOCAL_MEM_SIZE);
  d.memory_bytes = bytes(CL_DEVICE_GLOBAL_MEM_SIZE);
  d.largest_allocation = bytes(CL_DEVICE_MAX_MEM_ALLOC_SIZE);
  d.unusable = why_unusable(api, d);
  return d;
}

void load(const char* library, Discovery& found) {
  void* const handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = dlerror();
    found.why = std::string("no OpenCL loader: ") + (reason ? reason : library) + "; " + kInstall;
    return;
  }
#define TESSERA_OPENCL_FIND(name)                                                    \
  found.api.name = reinterpret_cast<decltype(found.api.name)>(dlsym(handle, #name)); \
  if (found.api.name == nullptr)                                                     \
    found.why = std::string("the OpenCL loader ") + library + " has no " #name "; install one for OpenCL 1.2 or later";
  TESSERA_OPENCL_FUNCTIONS(TESSERA_OPENCL_FIND)
#undef TESSERA_OPENCL_FIND
}

Discovery look(const char* library) {
  Discovery found;
  load(library, found);
  if (!found.why.empty()) return found;
  for (const cl_platform_id platform : platforms_of(found.api, found.why))
    for (const cl_device_id id : devices_of(found.api, platform)) found.devices.push_back(facts_of(found.api, platform, id));
  if (found.devices.empty() && found.why.empty())
    found.why = std::string("the OpenCL platforms here have no device; ") + kInstall;
  return found;
}

// In the child: silence drivers, look, say in one byte that it went well, or send the reason.
[[noreturn]] void look_in_child(const char* library, int to) {
  const Discovery found = look(library);
  const std::string text = found.why.empty() ? std::string(1, '\0') : found.why;
  [[maybe_unused]] const ssize_t sent = write(to, text.data(), text.size());
  _exit(0);
}

// Everything the child sends until it closes its end, or until patience ends (then false).
bool receive(int from, Duration patience, std::string& text) {
  char piece[512];
  for (int64_t left_ms = patience.ns / 1'000'000; left_ms >= 0; left_ms -= 100) {
    pollfd waiting{from, POLLIN, 0};
    const int ready = poll(&waiting, 1, 100);
    if (ready < 0 && errno != EINTR) return true;
    if (ready <= 0) continue;
    const ssize_t got = read(from, piece, sizeof piece);
    if (got <= 0) return true;
    text.append(piece, static_cast<size_t>(got));
  }
  return false;
}

std::string drivers_listed() {
  const char* given = std::getenv("OCL_ICD_VENDORS");
  std::error_code failed;
  std::string names;
  for (const auto& entry : std::filesystem::directory_iterator(given ? given : "/etc/OpenCL/vendors", failed))
    names += (names.empty() ? "" : ", ") + entry.path().string();
  return names.empty() ? "its drivers" : "one of " + names;
}

// "" where the loader and its drivers can be opened, else why not.
std::string probe(const char* library, Duration patience) {
  int ends[2];
  if (pipe(ends) != 0) return "cannot probe OpenCL: no pipe: " + std::generic_category().message(errno);
  const pid_t child = fork();
  if (child < 0) {
    close(ends[0]), close(ends[1]);
    return "cannot probe OpenCL: no child process: " + std::generic_category().message(errno);
  }
  if (child == 0) {
    close(ends[0]);
    look_in_child(library, ends[1]);
  }
  close(ends[1]);
  std::string text;
  const bool ended = receive(ends[0], patience, text);
  close(ends[0]);
  if (!ended) kill(child, SIGKILL);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
  const std::string remedy = "; remove or repair " + drivers_listed();
  if (!ended) return "OpenCL does not answer within " + to_string(patience) + remedy;
  if (WIFSIGNALED(status)) {
    const char* const words = ::sigdescr_np(WTERMSIG(status));
    return "an OpenCL driver crashes when it is loaded (signal " + std::to_string(WTERMSIG(status)) +
           (words != nullptr ? ", " + std::string(words) : "") + ")" + remedy;
  }
  if (text.empty()) return "an OpenCL driver ends the process when it is loaded" + remedy;
  return text[0] == '\0' ? "" : text;
}

}  // namespace

Discovery discover(const char* library, Duration patience) {
  Discovery found;
  found.why = probe(library, patience);
  return found.why.empty() ? look(library) : found;
}

const Discovery& machine() {
  static const Discovery& found = *new Discovery(discover("libOpenCL.so.1", kPatience));  // drivers outlive statics
  return found;
}

}  // namespace tessera::opencl
