// Packs compiled kernels into an xclbin for software emulation, described by the C++ signatures of their tops.
//
//   tessera-xclbin-packer KERNELS.so OUT.xclbin [KERNEL=UNITS ...]
// Register addresses and argument offsets come from the table that the library exports (hls/common/kernel_table.h).
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include <uuid/uuid.h>
#include <xrt/xclbin.h>

#include "backends/fpga/emulator/kernel_library.h"
#include "backends/fpga/interface.h"
#include "backends/fpga/xclbin_file.h"

namespace tessera::fpga {
namespace {

constexpr uint64_t kFirstBase = 0x1800000, kBaseStep = 0x10000;  // below 4 GB, 64 KB apart
constexpr uint64_t kBankKilobytes = 16ull << 20;                 // of the one memory bank: 16 GiB

struct Unit {
  const hls::KernelEntry* kernel;
  std::string name;
  uint64_t base;
};

std::string hexadecimal(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::vector<Unit> place(const KernelLibrary& library, const std::map<std::string, int>& counts) {
  std::vector<Unit> units;
  for (const hls::KernelEntry* kernel : library.kernels) {
    const auto count = counts.find(kernel->name);
    for (int i = 1; i <= (count == counts.end() ? 1 : count->second); ++i)
      units.push_back({kernel, std::string(kernel->name) + "_" + std::to_string(i), kFirstBase + units.size() * kBaseStep});
  }
  return units;
}

std::string describe_argument(const hls::KernelArgument& a, size_t id) {
  return "    <arg name=\"" + std::string(a.name) + "\" id=\"" + std::to_string(id) + "\" addressQualifier=\"" +
         (a.pointer ? "1" : "0") + "\" port=\"" + (a.pointer ? "M_AXI_GMEM" : "S_AXI_CONTROL") + "\" size=\"" +
         hexadecimal(a.size) + "\" offset=\"" + hexadecimal(a.offset) + "\" hostOffset=\"0x0\" hostSize=\"" +
         hexadecimal(a.size) + "\" type=\"" + a.type + "\"/>\n";
}

// The attributes that XRT reads without a default (src/runtime_src/core/common/xclbin_parser.cpp).
std::string describe(const KernelLibrary& library, const std::vector<Unit>& units) {
  std::string xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<project name=\"" + project_name() +
                    "\">\n<platform><device name=\"tessera\" fpgaDevice=\"emulated\"><core name=\"tessera\">\n";
  for (const hls::KernelEntry* kernel : library.kernels) {
    xml += "  <kernel name=\"" + std::string(kernel->name) +
           "\" type=\"pl\" hwControlProtocol=\"ap_ctrl_hs\">\n"
           "    <port name=\"S_AXI_CONTROL\" mode=\"slave\" range=\"0x10000\" dataWidth=\"32\"/>\n"
           "    <port name=\"M_AXI_GMEM\" mode=\"master\" range=\"0xFFFFFFFFFFFFFFFF\" dataWidth=\"512\"/>\n";
    for (uint32_t i = 0; i < kernel->argument_count; ++i) xml += describe_argument(kernel->arguments[i], i);
    for (const Unit& unit : units) {
      if (unit.kernel != kernel) continue;
      xml += "    <instance name=\"" + unit.name + "\"><addrRemap base=\"" + hexadecimal(unit.base) +
             "\" port=\"S_AXI_CONTROL\"/></instance>\n";
    }
    xml += "  </kernel>\n";
  }
  return xml + "</core></device></platform>\n</project>\n";
}

template <typename T>
void append(std::string& to, const T& value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// An array section: its count, padded to the alignment of its elements.
std::string counted(size_t count, bool padded) {
  std::string section;
  append(section, static_cast<int32_t>(count));
  if (padded) section.append(4, '\0');
  return section;
}

std::string memory_topology() {
  mem_data bank{};
  bank.m_type = MEM_DDR4;
  bank.m_used = 1;
  bank.m_size = kBankKilobytes;
  std::memcpy(bank.m_tag, "bank0", sizeof "bank0");
  std::string section = counted(1, true);
  append(section, bank);
  return section;
}

std::string ip_layout(const std::vector<Unit>& units) {
  std::string section = counted(units.size(), true);
  for (const Unit& unit : units) {
    ip_data ip{};
    ip.m_type = IP_KERNEL;
    ip.m_base_address = unit.base;
    std::snprintf(reinterpret_cast<char*>(ip.m_name), sizeof ip.m_name, "%s:%s", unit.kernel->name, unit.name.c_str());
    append(section, ip);
  }
  return section;
}

std::string connectivity(const std::vector<Unit>& units) {
  std::vector<connection> all;
  for (size_t u = 0; u < units.size(); ++u)
    for (uint32_t i = 0; i < units[u].kernel->argument_count; ++i)
      if (units[u].kernel->arguments[i].pointer) all.push_back({static_cast<int32_t>(i), static_cast<int32_t>(u), 0});
  std::string section = counted(all.size(), false);
  for (const connection& c : all) append(section, c);
  return section;
}

std::string assemble(const std::vector<std::pair<SectionKind, std::string>>& sections) {
  const auto aligned = [](size_t bytes) { return (bytes + 7) / 8 * 8; };
  XclbinHeader header{};
  std::memcpy(header.magic, kXclbinMagic, sizeof header.magic);
  header.signature_length = -1;
  std::memset(header.reserved, 0xff, sizeof header.reserved);
  std::memset(header.key_block, 0xff, sizeof header.key_block);
  header.time_stamp = static_cast<uint64_t>(std::time(nullptr));
  header.unique_id = header.time_stamp;
  header.version_major = 2;
  header.version_minor = 13;
  header.mode = kModeSoftwareEmulation;
  std::memcpy(header.platform, "tessera_emulated", sizeof "tessera_emulated");
  uuid_generate(header.uuid);
  header.sections = static_cast<uint32_t>(sections.size());
  size_t at = aligned(sizeof header + sections.size() * sizeof(XclbinSection));
  std::vector<XclbinSection> table;
  for (const auto& [kind, data] : sections) {
    table.push_back({static_cast<uint32_t>(kind), {}, 0, at, data.size()});
    at = aligned(at + data.size());
  }
  header.length = at;
  std::string file;
  append(file, header);
  for (const XclbinSection& s : table) append(file, s);
  for (size_t i = 0; i < table.size(); ++i) file.resize(table[i].offset, '\0'), file += sections[i].second;
  file.resize(at, '\0');
  return file;
}

int fail(const std::string& why) {
  std::fprintf(stderr, "tessera-xclbin-packer: %s\n", why.c_str());
  return 1;
}

int pack(const std::string& kernels, const std::string& out, const std::map<std::string, int>& counts) {
  std::string why;
  const KernelLibrary library = open_kernels(kernels, &why);
  if (library.kernels.empty()) return fail(why);
  for (const auto& [name, count] : counts)
    if (library.find(name) == nullptr || count < 1) return fail("no kernel '" + name + "' for units");
  std::ifstream file(kernels, std::ios::binary);
  const std::string object((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const std::vector<Unit> units = place(library, counts);
  const std::string xclbin = assemble({{SectionKind::kBitstream, object},
                                       {SectionKind::kMetadata, describe(library, units)},
                                       {SectionKind::kMemoryTopology, memory_topology()},
                                       {SectionKind::kIpLayout, ip_layout(units)},
                                       {SectionKind::kConnectivity, connectivity(units)}});
  std::ofstream to(out, std::ios::binary | std::ios::trunc);
  to.write(xclbin.data(), static_cast<std::streamsize>(xclbin.size()));
  return to.flush() ? 0 : fail("cannot write " + out);
}

}  // namespace
}  // namespace tessera::fpga

int main(int argc, char** argv) {
  std::map<std::string, int> counts;
  for (int i = 3; i < argc; ++i) {
    const std::string given = argv[i];
    counts[given.substr(0, given.find('='))] = std::atoi(given.c_str() + std::min(given.size(), given.find('=') + 1));
  }
  if (argc >= 3) return tessera::fpga::pack(argv[1], argv[2], counts);
  std::fprintf(stderr, "usage: tessera-xclbin-packer KERNELS.so OUT.xclbin [KERNEL=UNITS ...]\n");
  return 2;
}
