// One description of each type serves both directions: Fields(io, value) names its members in order, and io
// writes or reads them.
//
// SPDX-License-Identifier: Apache-2.0
#include "pipeline/wire.h"

#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "base/byte_reader.h"
#include "base/byte_writer.h"

namespace penstock {
namespace {

template <typename Io>
void Fields(Io& io, SamplingParams& params) {
  io(params.temperature), io(params.top_p), io(params.top_k), io(params.min_p);
  io(params.presence_penalty), io(params.frequency_penalty), io(params.repetition_penalty);
  io(params.seed), io(params.logit_bias), io(params.logprobs);
  // The rest of the parameters is the engine's business.
}

template <typename Io>
void Fields(Io& io, SampleSpec& sample) {
  io(sample.params), io(sample.seed), io(sample.draw_idx);
  io(sample.banned), io(sample.prompt_ids), io(sample.output_ids);
}

template <typename Io>
void Fields(Io& io, Chunk& chunk) {
  io(chunk.seq), io(chunk.pos), io(chunk.len), io(chunk.is_decode);
  io(chunk.token_ids), io(chunk.block_ids), io(chunk.sample);
  io(chunk.logprob_targets), io(chunk.num_prompt_logprobs);
}

template <typename Io>
void Fields(Io& io, Step& step) {
  io(step.step_id), io(step.chunks);
}

template <typename Io>
void Fields(Io& io, TokenLogprob& logprob) {
  io(logprob.id), io(logprob.logprob), io(logprob.rank);
}

template <typename Io>
void Fields(Io& io, PositionLogprobs& position) {
  io(position.chosen), io(position.top);
}

template <typename Io>
void Fields(Io& io, SampledToken& token) {
  io(token.seq), io(token.id), io(token.logprobs);
}

template <typename Io>
void Fields(Io& io, PromptLogprobs& prompt) {
  io(prompt.seq), io(prompt.pos), io(prompt.positions);
}

template <typename Io>
void Fields(Io& io, StageStamp& stamp) {
  io(stamp.stage), io(stamp.recv_us), io(stamp.begin_us), io(stamp.end_us);
}

template <typename Io>
void Fields(Io& io, StepResult& result) {
  io(result.step_id), io(result.tokens), io(result.prompt_logprobs), io(result.skipped), io(result.stamps);
}

class Writer {
 public:
  template <typename T>
  void operator()(T& value) {
    if constexpr (std::is_arithmetic_v<T>) {
      bytes_.Write(value);
    } else {
      Fields(*this, value);
    }
  }
  template <typename T>
  void operator()(std::optional<T>& value) {
    bytes_.Write(static_cast<uint8_t>(value.has_value()));
    if (value) (*this)(*value);
  }
  template <typename A, typename B>
  void operator()(std::pair<A, B>& value) {
    (*this)(value.first), (*this)(value.second);
  }
  template <typename T>
  void operator()(std::vector<T>& values) {
    bytes_.Write(static_cast<uint32_t>(values.size()));
    if constexpr (std::is_arithmetic_v<T>) {
      bytes_.WriteBytes(std::as_bytes(std::span(values)));
    } else {
      for (T& value : values) (*this)(value);
    }
  }

  std::vector<std::byte> Take() { return bytes_.Take(); }

 private:
  ByteWriter bytes_;
};

// After the first failure nothing is read any more.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <typename T>
  void operator()(T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      value = Number<uint8_t>() != 0;
    } else if constexpr (std::is_arithmetic_v<T>) {
      value = Number<T>();
    } else {
      Fields(*this, value);
    }
  }
  template <typename T>
  void operator()(std::optional<T>& value) {
    if (Number<uint8_t>() != 0) (*this)(value.emplace());
  }
  template <typename A, typename B>
  void operator()(std::pair<A, B>& value) {
    (*this)(value.first), (*this)(value.second);
  }
  template <typename T>
  void operator()(std::vector<T>& values) {
    const uint32_t count = Number<uint32_t>();
    if constexpr (std::is_arithmetic_v<T>) {
      if (!status_.ok()) return;
      const auto bytes = bytes_.ReadBytes(uint64_t{count} * sizeof(T));
      if (!bytes.ok()) return Fail(bytes.status());
      values.resize(count);
      if (count > 0) std::memcpy(values.data(), bytes->data(), bytes->size());
    } else {
      // Each takes a byte at least.
      if (count > bytes_.remaining()) {
        return Fail(InvalidArgument("{} entries where {} bytes are left", count, bytes_.remaining()));
      }
      for (uint32_t i = 0; i < count && status_.ok(); ++i) (*this)(values.emplace_back());
    }
  }

  // OK where all has been read, and nothing is left.
  Status Finish() {
    if (status_.ok() && bytes_.remaining() > 0) {
      Fail(InvalidArgument("{} bytes too many", bytes_.remaining()));
    }
    return status_;
  }

  void Fail(Status status) {
    if (status_.ok()) status_ = std::move(status);
  }

 private:
  template <typename T>
  T Number() {
    if (!status_.ok()) return T{};
    const Result<T> number = bytes_.Read<T>();
    if (!number.ok()) Fail(number.status());
    return number.ok() ? *number : T{};
  }

  ByteReader bytes_;
  Status status_;
};

struct PacketFlags {
  bool has_result = false, sequence_parallel = false, is_void = false, has_rows = false;
};

template <typename Io>
void Fields(Io& io, PacketFlags& flags) {
  io(flags.has_result), io(flags.sequence_parallel), io(flags.is_void), io(flags.has_rows);
}

Status CheckChunk(const Chunk& chunk) {
  if (chunk.len < 1 || chunk.pos < 0 || chunk.token_ids.size() != static_cast<size_t>(chunk.len)) {
    return InvalidArgument("a chunk of length {} at {} with {} tokens", chunk.len, chunk.pos,
                           chunk.token_ids.size());
  }
  return OkStatus();
}

}  // namespace

std::vector<std::byte> EncodePacket(const StagePacket& packet) {
  Writer writer;
  PacketFlags flags{packet.result != nullptr, packet.sequence_parallel, packet.is_void,
                    packet.own_rows.data != nullptr};
  writer(flags);
  writer(*packet.step);
  if (packet.result != nullptr) writer(*packet.result);
  return writer.Take();
}

Result<StagePacket> DecodePacket(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  PacketFlags flags;
  StagePacket packet;
  packet.step = std::make_unique<Step>();
  reader(flags);
  reader(*packet.step);
  if (flags.has_result) reader(*(packet.result = std::make_unique<StepResult>()));
  packet.sequence_parallel = flags.sequence_parallel;
  packet.is_void = flags.is_void;
  packet.hidden_is_own_rows = flags.has_rows;
  for (const Chunk& chunk : packet.step->chunks) reader.Fail(CheckChunk(chunk));
  RETURN_IF_ERROR(reader.Finish());
  return packet;
}

std::vector<std::byte> EncodeResult(const StepResult& result) {
  Writer writer;
  writer(const_cast<StepResult&>(result));
  return writer.Take();
}

Result<StepResult> DecodeResult(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  StepResult result;
  reader(result);
  RETURN_IF_ERROR(reader.Finish());
  return result;
}

}  // namespace penstock
