// Plans the files, then writes them tensor by tensor.
#include "engine/convert_model.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "engine/cache/checksum.h"
#include "engine/convert/gguf_metadata.h"
#include "engine/convert/part_file.h"
#include "engine/convert/plan.h"
#include "engine/convert/tensor_rows.h"
#include "engine/cpu/thread_pool.h"
#include "engine/error.h"
#include "engine/weights/gguf_writer.h"
#include "engine/weights/load_model.h"
#include "engine/weights/mapped_file.h"
#include "engine/weights/quantise.h"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".gguf";

// Rows are written so many bytes at a time: enough for a disk, little beside a model.
constexpr std::int64_t kChunkBytes = 4 << 20;
constexpr int kRowsPerTask = 8;

// One file to write.
struct Job {
  fs::path target;
  Plan plan;
  GgufWriter layout{};
  std::string header{};

  std::int64_t bytes() const { return std::ssize(header) + layout.data_bytes(); }
  std::int64_t begin(std::size_t tensor) const {
    return std::ssize(header) +
           (tensor < plan.tensors.size() ? layout.offset(tensor) : layout.data_bytes());
  }
};

struct NamedType {
  std::string name;
  StoredType type;
};

std::vector<NamedType> named_types() {
  std::vector<NamedType> named;
  for (int number = 0; number < kFormats; ++number) {
    const auto format = static_cast<Format>(number);
    const auto type = stored_type_of(format);
    if (!can_quantise(format) || !type) continue;
    std::string name(format_name(format));
    std::ranges::transform(name, name.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    });
    named.push_back({std::move(name), *type});
  }
  return named;
}

std::optional<StoredType> wished_type(const std::string& name) {
  if (name.empty()) return std::nullopt;
  const auto types = named_types();
  const auto found = std::ranges::find(types, name, &NamedType::name);
  if (found != types.end()) return found->type;
  throw Error(fmt::format("there is no type '{}' to convert to; use {}", name,
                          fmt::join(convertible_types(), ", ")));
}

// Sizes and samples of the source's files: enough to tell checkpoints apart without reading them.
std::string digest_of(const ModelWeights& weights) {
  constexpr std::size_t kSamples = 16, kSampleBytes = 256;
  Checksum sum;
  for (const auto& file : weights.files) {
    const auto bytes = file->bytes();
    sum.add_value(file->size());
    for (std::size_t i = 0; i < kSamples; ++i) {
      const auto sample = bytes.subspan(bytes.size() / kSamples * i);
      sum.add(sample.first(std::min(sample.size(), kSampleBytes)));
    }
  }
  return fmt::format("{:016x}", sum.value());
}

std::string model_name(const fs::path& folder) {
  const fs::path whole = fs::absolute(folder).lexically_normal();
  return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

Job make_job(const ConvertOptions& options, const ModelWeights& weights, fs::path target, Plan plan,
             bool holds_mtp) {
  Job job{.target = std::move(target), .plan = std::move(plan)};
  // The routed experts are most of any model.
  const auto experts = std::ranges::find_if(
      job.plan.tensors, [](const PlannedTensor& tensor) { return tensor.shape.size() == 3; });
  describe_model(job.layout, weights.config,
                 {.name = model_name(options.source),
                  .experts = experts->type,
                  .holds_mtp = holds_mtp,
                  .source_digest = digest_of(weights)});
  describe_tokenizer(job.layout, weights.config, options.source);
  for (const PlannedTensor& tensor : job.plan.tensors) {
    job.layout.tensor(tensor.name, tensor.type, tensor.shape);
  }
  job.header = job.layout.header();
  return job;
}

std::vector<Job> make_jobs(const ConvertOptions& options, const ModelWeights& weights) {
  if (options.target.extension() != kSuffix) {
    throw Error(
        fmt::format("{}: expected a name that ends in {}", options.target.string(), kSuffix));
  }
  const PlannedTypes types{.experts = wished_type(options.experts),
                           .projections = wished_type(options.projections)};
  std::vector<Job> jobs;
  if (!weights.mtp.empty()) {
    fs::path target = options.target;
    target.replace_extension(fmt::format(".mtp{}", kSuffix));
    jobs.push_back(make_job(options, weights, std::move(target), plan_mtp(weights, types),
                            /*holds_mtp=*/true));
  }
  jobs.push_back(make_job(options, weights, options.target, plan_trunk(weights, types),
                          /*holds_mtp=*/false));
  return jobs;
}

// Whether an earlier call has finished the file.
bool is_there(const Job& job) {
  if (!fs::exists(job.target)) return false;
  const MappedFile file(job.target);
  return file.size() == job.bytes() && std::ranges::equal(file.bytes().first(job.header.size()),
                                                          std::as_bytes(std::span(job.header)));
}

// The trunk's file comes last, so without it the others may be what a killed call left.
void refuse_overwriting(const std::vector<Job>& jobs) {
  const bool began = !fs::exists(jobs.back().target);
  for (const Job& job : jobs) {
    if (!fs::exists(job.target) || (began && is_there(job))) continue;
    throw Error(fmt::format("{}: exists already; remove it or ask for it to be replaced",
                            job.target.string()));
  }
}

void refuse_full_disk(const std::vector<Job>& jobs) {
  std::int64_t needed = 0;
  for (const Job& job : jobs) {
    std::error_code missing;
    const auto part = fs::file_size(job.target.string() + ".part", missing);
    needed += job.bytes() - (missing ? 0 : static_cast<std::int64_t>(part));
  }
  const std::int64_t free = free_bytes(jobs.back().target);
  if (needed <= free) return;
  throw Error(
      fmt::format("{}: needs {} bytes more, expected no more than the {} that are free there",
                  jobs.back().target.string(), needed, free));
}

class Converter {
 public:
  Converter(const ModelWeights& weights, int threads, std::stop_token stop)
      : weights_(weights),
        pool_(threads),
        stop_(std::move(stop)),
        scratch_(static_cast<std::size_t>(threads)) {}

  // Appends the tensor's rows; `told` hears of every chunk. False if it was stopped. Throws Error
  // if a source could not be read or is no longer what it was.
  template <typename Told>
  bool write(const PlannedTensor& tensor, PartFile& file, Told&& told) {
    for (auto& floats : scratch_) floats.resize(static_cast<std::size_t>(row_scratch(tensor)));
    const std::int64_t row_bytes = tensor.row_bytes();
    const std::int64_t matrix_rows = tensor.matrices.front().rows;
    const std::int64_t chunk = std::max<std::int64_t>(kChunkBytes / row_bytes, 1);
    for (std::size_t m = 0; m < tensor.matrices.size(); ++m) {
      const std::int64_t begin = static_cast<std::int64_t>(m) * matrix_rows;
      for (std::int64_t first = 0; first < matrix_rows; first += chunk) {
        if (stop_.stop_requested()) return false;
        const std::int64_t rows = std::min(chunk, matrix_rows - first);
        bytes_.resize(static_cast<std::size_t>(rows * row_bytes));
        convert(tensor, begin + first, rows);
        file.append(bytes_);
        told(std::ssize(bytes_));
      }
      forget(tensor.matrices[m]);
    }
    if (tensor.right) forget(*tensor.right);
    for (const auto& source : weights_.files) source->expect_unchanged();
    return true;
  }

 private:
  // Pages of a matrix that has been written: those of a model larger than memory would push out
  // what is needed next.
  void forget(const Tensor& tensor) {
    for (const auto& file : weights_.files) {
      file->forget({tensor.data, static_cast<std::size_t>(tensor.rows * tensor.row_bytes)});
    }
  }

  void convert(const PlannedTensor& tensor, std::int64_t first, std::int64_t rows) {
    const std::int64_t row_bytes = tensor.row_bytes();
    std::atomic<std::int64_t> damaged{-1};
    const auto tasks = static_cast<int>((rows + kRowsPerTask - 1) / kRowsPerTask);
    pool_.run(tasks, [&](int task, int worker) {
      const std::int64_t begin = std::int64_t{task} * kRowsPerTask;
      for (std::int64_t row = begin; row < std::min(rows, begin + kRowsPerTask); ++row) {
        const bool good = write_row(tensor, first + row, scratch_[static_cast<std::size_t>(worker)],
                                    bytes_.data() + row * row_bytes);
        if (!good) damaged = first + row;
      }
    });
    if (damaged < 0) return;
    throw Error(
        fmt::format("{}: row {} holds a weight or a scale that is NaN or infinite, expected "
                    "finite numbers: the checkpoint is damaged",
                    tensor.name, damaged.load()));
  }

  const ModelWeights& weights_;
  cpu::ThreadPool pool_;
  std::stop_token stop_;
  std::vector<std::vector<float>> scratch_;  // of each worker
  std::vector<std::byte> bytes_;
};

// The tensor to go on with. The last one that was begun may lack bytes, and after a power failure
// be wrong: it is written again.
std::size_t first_unfinished(const Job& job, std::int64_t size) {
  std::size_t tensor = 0;
  while (tensor + 1 < job.plan.tensors.size() && job.begin(tensor + 1) < size) ++tensor;
  return tensor;
}

}  // namespace

std::vector<std::string> convertible_types() {
  std::vector<std::string> names;
  for (NamedType& named : named_types()) names.push_back(std::move(named.name));
  return names;
}

ConvertReport convert_model(
    const ConvertOptions& options,
    const std::function<void(std::int64_t bytes, std::int64_t total)>& progress,
    std::stop_token stop) {
  const LoadedModel loaded = load_model(options.source, {}, {});
  if (loaded.checkpoint->is_gguf()) {
    throw Error(fmt::format("{}: is a GGUF file, expected a Hugging Face folder",
                            loaded.checkpoint->path().string()));
  }
  const std::vector<Job> jobs = make_jobs(options, loaded.weights);
  if (!options.overwrite) refuse_overwriting(jobs);
  refuse_full_disk(jobs);

  ConvertReport report;
  std::int64_t total = 0, written = 0;
  for (const Job& job : jobs) {
    total += job.bytes();
    report.notes.insert(report.notes.end(), job.plan.notes.begin(), job.plan.notes.end());
  }
  const auto tell = [&](std::int64_t bytes) {
    written += bytes;
    if (progress) progress(written, total);
  };

  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  Converter converter(loaded.weights, options.threads > 0 ? options.threads : cores, stop);
  std::vector<std::optional<PartFile>> files;
  for (const Job& job : jobs) {
    std::optional<PartFile>& file = files.emplace_back();
    if (!options.overwrite && is_there(job)) {
      tell(job.bytes());
      report.resumed_bytes += job.bytes();
      continue;
    }
    file.emplace(job.target, job.header);
    const std::size_t first = first_unfinished(job, file->size());
    file->resume_at(job.begin(first));
    tell(file->size());
    if (first > 0) report.resumed_bytes += file->size();
    for (std::size_t i = first; i < job.plan.tensors.size(); ++i) {
      if (!converter.write(job.plan.tensors[i], *file, tell)) return report;
      const std::vector<std::byte> padding(
          static_cast<std::size_t>(job.begin(i + 1) - file->size()));
      file->append(padding);
      tell(std::ssize(padding));
      file->flush();
    }
  }
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    if (files[i]) files[i]->finish(options.overwrite);
    report.files.push_back(jobs[i].target);
    report.bytes += jobs[i].bytes();
  }
  report.finished = true;
  return report;
}

}  // namespace fathom::engine
