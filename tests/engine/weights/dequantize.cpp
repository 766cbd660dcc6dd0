// De-quantises standard input, blocks of the format that is named, to f32 on standard output.
#include <cstdio>
#include <iostream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "engine/weights/tensor.h"

int main(int count, char** arguments) {
  using namespace fathom::engine;
  const std::string_view name = count > 1 ? arguments[1] : "";
  for (int number = 0; number < kFormats; ++number) {
    const auto format = static_cast<Format>(number);
    if (format_name(format) != name) continue;
    const std::string bytes{std::istreambuf_iterator<char>(std::cin), {}};
    const FormatLayout& layout = layout_of(format);
    const Tensor tensor{.format = format,
                        .rows = 1,
                        .columns = std::ssize(bytes) / layout.bytes * layout.entries,
                        .row_bytes = std::ssize(bytes),
                        .data = reinterpret_cast<const std::byte*>(bytes.data())};
    std::vector<float> values(static_cast<std::size_t>(tensor.columns));
    dequantize_row(tensor, 0, values.data());
    std::fwrite(values.data(), sizeof(float), values.size(), stdout);
    return 0;
  }
  std::fprintf(stderr, "usage: dequantize FORMAT < blocks > values\n");
  return 2;
}
