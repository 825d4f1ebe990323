// Checks what backend.h promises, whatever the device computes.
#include "tests/conformance/contract_checks.h"

#include <algorithm>
#include <memory>
#include <set>
#include <thread>

#include "tests/conformance/keys.h"
#include "tests/conformance/work.h"

namespace tessera::conformance {
namespace {

// What the executor relies on where a device has a link.
void describes_links(const Subject& s, const std::vector<DeviceDescription>& devices, Finding& f) {
  const DeviceDescription& d = s.description;
  const auto is_my_link = [&](const DeviceDescription& other) {
    return other.name == d.link && other.kind == DeviceKind::kLink && other.backend == d.backend;
  };
  f.expect(d.link.empty() || std::any_of(devices.begin(), devices.end(), is_my_link),
           d.name + " names link '" + d.link + "', which is no link of its backend");
  f.expect(d.own_buffers || (d.link.empty() && !d.host_visible),
           d.name + " has a link or host-visible buffers, but no buffers of its own");
  const auto owners = std::count_if(devices.begin(), devices.end(), [&](const auto& o) { return o.link == d.name; });
  f.expect(!s.is_link() || owners == 1, d.name + " is the link of " + std::to_string(owners) + " devices");
}

}  // namespace

Finding describes_itself(const Subject& s) {
  Finding f;
  std::set<std::string> names;
  const std::vector<DeviceDescription> devices = s.backend->describe();
  for (const DeviceDescription& device : devices) {
    f.expect(!device.name.empty(), "a device has no name");
    f.expect(names.insert(device.name).second, "two devices are called " + device.name);
    f.expect(device.backend == s.backend_name, device.name + " names backend '" + device.backend + "', not its own");
    f.expect(!s.on_demand || device.name.starts_with(s.backend_name),
             device.name + " does not begin with its backend's name, by which it is asked for");
    f.expect(device.available || !device.why.empty(), device.name + " is not available and does not say why");
    f.expect(device.threads >= 1, device.name + " has " + std::to_string(device.threads) + " threads");
    f.expect(device.memory_capacity.n > 0, device.name + " has no memory");
  }
  f.expect(s.backend->describe().size() == names.size(), "describe() changes its mind");
  describes_links(s, devices, f);
  return f;
}

Finding says_why_not(const Subject& s) {
  Finding f;
  const ModelShape shape = some_shape();
  bool any = false;
  for_all_keys([&](Op op, Bits bits, int slices, bool decoded) {
    const CostKey key = key_of(op, 32, slices, bits, decoded);
    const Support support = s.backend->supports(s.device, key, shape);
    f.expect(support.yes || !support.why.empty(), text_of(key) + ": refused without a reason");
    f.expect(support.yes || s.named_in(support.why), text_of(key) + ": the reason names no device: " + support.why);
    f.expect(!s.is_link() || support.yes == (op == Op::kTransfer), text_of(key) + ": a link does transfers, and only those");
    f.expect(!s.description.own_buffers || op != Op::kTransfer || support.yes,
             text_of(key) + ": activations cannot come to its own buffers");
    any = any || support.yes;
  });
  f.expect(any, "supports nothing at all");
  return f;
}

Finding wait_keeps_its_deadline(const Subject& s) {
  Finding f;
  const auto work = small_work(s);
  f.expect(work->ready, "operands");
  if (!work->ready.ok()) return f;
  const Result<Ticket> ticket = s.backend->submit(s.device, work->task, work->operands);
  f.expect(ticket.ok(), ticket.ok() ? "" : "submit: " + ticket.error().message);
  if (!ticket.ok() || *ticket == kDone) return f;
  const Status early = s.backend->wait(s.device, *ticket, s.clock->now() - milliseconds(1));
  f.expect(early.ok() || early.error().code == ErrorCode::kDeadline,
           early.ok() ? "" : "a deadline in the past gave: " + early.error().message);
  if (early.ok()) return f;
  f.expect(s.backend->wait(s.device, *ticket, s.soon()), "the same ticket, later");
  return f;
}

Finding cancel_returns(const Subject& s) {
  Finding f;
  const auto work = small_work(s);
  f.expect(work->ready, "operands");
  if (!work->ready.ok()) return f;
  s.backend->cancel(s.device, kDone);  // harmless
  const Result<Ticket> ticket = s.backend->submit(s.device, work->task, work->operands);
  f.expect(ticket.ok(), ticket.ok() ? "" : "submit: " + ticket.error().message);
  if (!ticket.ok()) return f;
  if (*ticket != kDone) {
    s.backend->cancel(s.device, *ticket);
    const Status ended = s.backend->wait(s.device, *ticket, s.soon());
    f.expect(ended.ok() || ended.error().code == ErrorCode::kCancelled,
             "a cancelled task ends as neither done nor cancelled: " + (ended.ok() ? "" : ended.error().message));
    f.expect(!ended.ok() || work->wrong().empty(), "a task that ended well in spite of a cancel: " + work->wrong());
    s.backend->cancel(s.device, *ticket);  // it has ended: harmless
  }
  f.expect(perform(s, work->task, work->operands), "the device does not work after a cancel");
  f.expect(work->wrong().empty(), "after a cancel: " + work->wrong());
  return f;
}

Finding cancels_while_waited_for(const Subject& s) {
  Finding f;
  const auto work = small_work(s);
  f.expect(work->ready, "operands");
  for (int i = 0; work->ready.ok() && i < 10; ++i) {
    const Result<Ticket> ticket = s.backend->submit(s.device, work->task, work->operands);
    f.expect(ticket.ok(), ticket.ok() ? "" : "submit: " + ticket.error().message);
    if (!ticket.ok() || *ticket == kDone) return f;
    std::thread other([&] { s.backend->cancel(s.device, *ticket); });
    const Status ended = s.backend->wait(s.device, *ticket, s.soon());
    other.join();
    f.expect(ended.ok() || ended.error().code == ErrorCode::kCancelled,
             "ends as neither done nor cancelled: " + (ended.ok() ? "" : ended.error().message));
  }
  return f;
}

Finding runs_task_after_task(const Subject& s) {
  Finding f;
  const auto work = small_work(s);
  f.expect(work->ready, "operands");
  for (int i = 0; work->ready.ok() && i < 20; ++i)
    f.expect(perform(s, work->task, work->operands), "task " + std::to_string(i));
  return f;
}

// submit only starts: three tasks are under way before the first is waited for, and they are waited for in another order.
Finding waits_in_any_order(const Subject& s) {
  Finding f;
  std::vector<std::unique_ptr<SmallWork>> works;
  std::vector<Ticket> tickets;
  for (int i = 0; i < 3; ++i) {
    works.push_back(small_work(s, i));
    f.expect(works.back()->ready, "operands");
    if (!f.failures.empty()) return f;
  }
  for (const auto& work : works) {
    const Result<Ticket> ticket = s.backend->submit(s.device, work->task, work->operands);
    f.expect(ticket.ok(), ticket.ok() ? "" : "submit: " + ticket.error().message);
    tickets.push_back(ticket.ok() ? *ticket : kDone);
  }
  for (const size_t i : {size_t{2}, size_t{0}, size_t{1}})
    if (tickets[i] != kDone) f.expect(s.backend->wait(s.device, tickets[i], s.soon()), "task " + std::to_string(i));
  for (size_t i = 0; i < works.size(); ++i)
    f.expect(works[i]->wrong().empty(), "task " + std::to_string(i) + ": " + works[i]->wrong());
  return f;
}

// A device that the backend does not have is refused by number.
Finding refuses_unknown_devices(const Subject& s) {
  Finding f;
  const auto work = small_work(s);
  f.expect(work->ready, "operands");
  if (!work->ready.ok()) return f;
  const ModelShape shape = some_shape();
  for (const int device : {static_cast<int>(s.backend->describe().size()), 77, -1}) {
    const Support support = s.backend->supports(device, work->task.cost, shape);
    f.expect(!support.yes && !support.why.empty(), "supports() for device " + std::to_string(device));
    const Result<Ticket> ticket = s.backend->submit(device, work->task, work->operands);
    f.expect(!ticket.ok(), "submit() to device " + std::to_string(device) + " was taken");
    if (!ticket.ok())
      f.expect(ticket.error().message.find(std::to_string(device)) != std::string::npos,
               "device " + std::to_string(device) + " is not named: " + ticket.error().message);
  }
  return f;
}

}  // namespace tessera::conformance
