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

// Each names all members, so that a new one does not compile before it is thought of here.

template <typename Io>
void Fields(Io& io, SamplingParams& params) {
  auto& [temperature, top_p, top_k, min_p, presence_penalty, frequency_penalty, repetition_penalty, seed,
         logit_bias, max_tokens, min_tokens, ignore_eos, stop, stop_token_ids, include_stop_str_in_output,
         skip_special_tokens, logprobs, prompt_logprobs] = params;
  io(temperature), io(top_p), io(top_k), io(min_p);
  io(presence_penalty), io(frequency_penalty), io(repetition_penalty);
  io(seed), io(logit_bias), io(logprobs);
  // The rest of the parameters is the engine's business.
}

template <typename Io>
void Fields(Io& io, SampleSpec& sample) {
  auto& [params, seed, draw_idx, banned, prompt_ids, output_ids] = sample;
  io(params), io(seed), io(draw_idx), io(banned), io(prompt_ids), io(output_ids);
}

template <typename Io>
void Fields(Io& io, Chunk& chunk) {
  auto& [seq, pos, len, is_decode, token_ids, block_ids, sample, logprob_targets, num_prompt_logprobs] =
      chunk;
  io(seq), io(pos), io(len), io(is_decode);
  io(token_ids), io(block_ids), io(sample);
  io(logprob_targets), io(num_prompt_logprobs);
}

template <typename Io>
void Fields(Io& io, Step& step) {
  auto& [step_id, chunks] = step;
  io(step_id), io(chunks);
}

template <typename Io>
void Fields(Io& io, TokenLogprob& token) {
  auto& [id, logprob, rank] = token;
  io(id), io(logprob), io(rank);
}

template <typename Io>
void Fields(Io& io, PositionLogprobs& position) {
  auto& [chosen, top] = position;
  io(chosen), io(top);
}

template <typename Io>
void Fields(Io& io, SampledToken& token) {
  auto& [seq, id, logprobs] = token;
  io(seq), io(id), io(logprobs);
}

template <typename Io>
void Fields(Io& io, PromptLogprobs& prompt) {
  auto& [seq, pos, positions] = prompt;
  io(seq), io(pos), io(positions);
}

template <typename Io>
void Fields(Io& io, StageStamp& stamp) {
  auto& [stage, recv_us, begin_us, end_us] = stamp;
  io(stage), io(recv_us), io(begin_us), io(end_us);
}

// No stage sets the status: a process that cannot go on ends.
template <typename Io>
void Fields(Io& io, StepResult& result) {
  auto& [step_id, status, tokens, prompt_logprobs, skipped, stamps] = result;
  io(step_id), io(tokens), io(prompt_logprobs), io(skipped), io(stamps);
}

template <typename Io>
void Fields(Io& io, RankCounters& counters) {
  io(counters.expert_tokens), io(counters.tp_bytes), io(counters.pcp_bytes), io(counters.ep_bytes);
  io(counters.stage_bytes), io(counters.handover_bytes);
}

template <typename Io>
void Fields(Io& io, CountersAnswer& answer) {
  io(answer.question), io(answer.counters);
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

// An order as it is sent.
struct OrderFields {
  int32_t replica = 0;
  uint8_t kind = 0;
  SeqId seq = 0;
  uint64_t last_step_id = 0, question = 0;
};

template <typename Io>
void Fields(Io& io, OrderFields& order) {
  io(order.replica), io(order.kind), io(order.seq), io(order.last_step_id), io(order.question);
}

struct PacketFlags {
  bool has_result = false, sequence_parallel = false, is_void = false, has_own_rows = false;
};

template <typename Io>
void Fields(Io& io, PacketFlags& flags) {
  io(flags.has_result), io(flags.sequence_parallel), io(flags.is_void), io(flags.has_own_rows);
}

Status CheckChunk(const Chunk& chunk) {
  if (chunk.len < 1 || chunk.pos < 0 || chunk.token_ids.size() != static_cast<size_t>(chunk.len)) {
    return InvalidArgument("a chunk of length {} at {} with {} tokens", chunk.len, chunk.pos,
                           chunk.token_ids.size());
  }
  if (!chunk.logprob_targets.empty() && chunk.logprob_targets.size() != chunk.token_ids.size()) {
    return InvalidArgument("a chunk of length {} with {} log-probabilities", chunk.len,
                           chunk.logprob_targets.size());
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
  packet.hidden_is_own_rows = flags.has_own_rows;
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

std::vector<std::byte> EncodeOrder(const Order& order) {
  Writer writer;
  OrderFields fields{order.replica, static_cast<uint8_t>(order.kind), order.seq, order.last_step_id,
                     order.question};
  writer(fields);
  return writer.Take();
}

Result<Order> DecodeOrder(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  OrderFields fields;
  reader(fields);
  if (fields.kind > static_cast<uint8_t>(Order::Kind::kCount)) {
    reader.Fail(InvalidArgument("an order of kind {}", fields.kind));
  }
  RETURN_IF_ERROR(reader.Finish());
  return Order{fields.replica, Order::Kind{fields.kind}, fields.seq, fields.last_step_id, fields.question};
}

std::vector<std::byte> EncodeCounters(const CountersAnswer& answer) {
  Writer writer;
  writer(const_cast<CountersAnswer&>(answer));
  return writer.Take();
}

Result<CountersAnswer> DecodeCounters(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  CountersAnswer answer;
  reader(answer);
  RETURN_IF_ERROR(reader.Finish());
  return answer;
}

}  // namespace penstock
