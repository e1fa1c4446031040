// The Rust library does the work; this file guards the border, keeps the vocabulary for quick look-ups, and
// cuts long texts into pieces for several threads:
//
//   text   |--piece 0--|--piece 1--|--piece 2--|--piece 3--|    pieces are taken from a counter by the caller
//   ids    |  ids 0  |   ids 1   | ids 2 |   ids 3   |          and by whichever helpers are free
//
// SPDX-License-Identifier: Apache-2.0
#include "text/hf_tokenizer.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <utility>

#include "base/affinity.h"
#include "base/log.h"
#include "text/tokenizer_traits.h"

namespace penstock {
namespace {

constexpr size_t kParallelBytes = 64 << 10;  // a shorter text is encoded in one piece
constexpr size_t kMinPieceBytes = 16 << 10;
constexpr size_t kMaxPieceBytes = 256 << 10;
constexpr uint32_t kMaxIds = 1 << 24;

const uint8_t* Bytes(std::string_view text) { return reinterpret_cast<const uint8_t*>(text.data()); }

TextFfiBytes Into(std::string& out) {
  return {&out, [](void* context, const uint8_t* data, size_t len) {
            static_cast<std::string*>(context)->append(reinterpret_cast<const char*>(data), len);
          }};
}

// Appends. Ids are below kMaxIds, as Describe() has checked.
TextFfiIds Into(std::vector<int32_t>& out) {
  return {&out, [](void* context, const uint32_t* ids, size_t len) {
            auto* vector = static_cast<std::vector<int32_t>*>(context);
            vector->insert(vector->end(), ids, ids + len);
          }};
}

// Runs body(i) for i in [0, count), on the calling thread and on helpers that are free. A helper that comes
// late finds nothing left to do, hence the shared state outlives the call, and `body` is not touched by then.
void ShareOut(size_t count, WorkerPool& helpers, const std::function<void(size_t)>& body) {
  struct Job {
    const std::function<void(size_t)>* body;
    size_t count;
    std::atomic<size_t> next{0};
    std::mutex mutex;
    std::condition_variable done;
    size_t num_done = 0;  // GUARDED_BY(mutex)
  };
  auto job = std::make_shared<Job>();
  job->body = &body;
  job->count = count;
  const auto work = [job] {
    for (size_t i; (i = job->next.fetch_add(1)) < job->count;) {
      (*job->body)(i);
      std::lock_guard lock(job->mutex);
      if (++job->num_done == job->count) job->done.notify_one();
    }
  };
  const size_t num_helpers = std::min<size_t>(helpers.num_threads(), count - 1);
  for (size_t i = 0; i < num_helpers; ++i) {
    if (!helpers.Submit(work)) break;  // all are busy: fewer hands
  }
  work();
  std::unique_lock lock(job->mutex);
  job->done.wait(lock, [&] { return job->num_done == job->count; });
}

Result<Json> DescribePart(const TextFfiTokenizer* tokenizer, TextFfiPart part) {
  std::string json, error;
  if (!text_ffi_describe(tokenizer, part, Into(json), Into(error)))
    return Internal("tokenizer part {}: {}", int{part}, error);
  return ParseJson(json, "tokenizer.json", 256);
}

int NumThreads(const TokenizerOptions& options) {
  return options.num_threads > 0 ? options.num_threads : std::min(4, static_cast<int>(UsableCores().size()));
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& model_dir,
                                                   const TokenizerOptions& options) {
  const std::string path = model_dir + "/tokenizer.json";
  ASSIGN_OR_RETURN(const std::string json, ReadTextFile(path));
  ASSIGN_OR_RETURN(TokenizerConfig config, ReadTokenizerConfig(model_dir));
  Result<std::unique_ptr<HfTokenizer>> tokenizer = HfTokenizer::Create(json, std::move(config), options);
  if (!tokenizer.ok()) return tokenizer.status().WithContext(path);
  return std::unique_ptr<Tokenizer>(*std::move(tokenizer));
}

Result<std::unique_ptr<HfTokenizer>> HfTokenizer::Create(std::string_view tokenizer_json,
                                                         TokenizerConfig config,
                                                         const TokenizerOptions& options) {
  std::string error;
  TextFfiHandle handle(text_ffi_tokenizer_new(Bytes(tokenizer_json), tokenizer_json.size(), Into(error)));
  if (handle == nullptr) return InvalidArgument("{}", error);
  std::unique_ptr<HfTokenizer> tokenizer(new HfTokenizer(std::move(handle), std::move(config)));
  RETURN_IF_ERROR(tokenizer->Describe(options));
  return tokenizer;
}

Status HfTokenizer::Describe(const TokenizerOptions& options) {
  const uint32_t id_limit = text_ffi_id_limit(handle_.get());
  if (id_limit == 0) return InvalidArgument("no tokens");
  if (id_limit > kMaxIds)
    return InvalidArgument("token id {}, at most {} is read", id_limit - 1, kMaxIds - 1);
  TokenizerParts parts;
  ASSIGN_OR_RETURN(parts.normalizer, DescribePart(handle_.get(), kTextFfiNormalizer));
  ASSIGN_OR_RETURN(parts.pre_tokenizer, DescribePart(handle_.get(), kTextFfiPreTokenizer));
  ASSIGN_OR_RETURN(parts.decoder, DescribePart(handle_.get(), kTextFfiDecoder));
  ASSIGN_OR_RETURN(parts.model, DescribePart(handle_.get(), kTextFfiModel));
  ASSIGN_OR_RETURN(parts.added_tokens, DescribePart(handle_.get(), kTextFfiAddedTokens));

  std::vector<bool> special(id_limit);
  for (const Json& entry : parts.added_tokens) {
    const uint32_t id = entry[0].get<uint32_t>();
    if (id < id_limit && entry[1]["special"].get<bool>()) special[id] = true;
  }
  std::string spelling;
  for (uint32_t id = 0; id < id_limit; ++id) {
    spelling.clear();
    const bool known = text_ffi_id_to_token(handle_.get(), id, Into(spelling));
    table_.Add(spelling, known, special[id]);
  }

  const TokenizerTraits traits = ReadTraits(parts);
  byte_level_decoder_ = traits.byte_level_decoder;
  max_token_bytes_ = std::numeric_limits<int32_t>::max();
  if (traits.bytes_factor && (!traits.byte_level_encoder || table_.HasAllBytes())) {
    const size_t longest = traits.byte_level_encoder ? table_.max_bytes() : table_.max_spelling();
    max_token_bytes_ = static_cast<int32_t>(std::clamp<size_t>(longest, 1, 1 << 20)) * *traits.bytes_factor;
  }
  cut_rules_ = traits.cuts;
  RETURN_IF_ERROR(FindAddedIds());
  RETURN_IF_ERROR(FindCutRules());
  if (cut_rules_.any() && NumThreads(options) > 1) {
    helpers_ = std::make_unique<WorkerPool>(NumThreads(options) - 1, 64, "encode");
  }
  return OkStatus();
}

// The post-processor puts the same ids around every text: found by what it puts around one.
Status HfTokenizer::FindAddedIds() {
  if (config_.add_bos_token || config_.add_eos_token) {
    const auto add = [&](bool wanted, const std::optional<std::string>& token, std::vector<int32_t>& ids) {
      const std::optional<int32_t> id = wanted && token ? TokenToId(*token) : std::nullopt;
      if (id) ids.push_back(*id);
    };
    add(config_.add_bos_token.value_or(false), config_.bos_token, ids_before_);
    add(config_.add_eos_token.value_or(false), config_.eos_token, ids_after_);
    return OkStatus();
  }
  constexpr std::string_view kProbe = "penstock";
  std::vector<int32_t> bare, whole;
  RETURN_IF_ERROR(EncodeInto(kProbe, false, bare));
  RETURN_IF_ERROR(EncodeInto(kProbe, true, whole));
  const auto begin = std::ranges::search(whole, bare).begin();
  if (begin == whole.end() && !bare.empty()) {
    return Unimplemented("a post-processor that does more than to put tokens before and after the text");
  }
  ids_before_.assign(whole.begin(), begin);
  ids_after_.assign(begin + bare.size(), whole.end());
  return OkStatus();
}

// Keeps the rules under which a text that is cut at every such place gives the ids of the whole.
Status HfTokenizer::FindCutRules() {
  if (!cut_rules_.any()) return OkStatus();
  const std::string text = SelfTestText();
  std::vector<int32_t> whole;
  RETURN_IF_ERROR(EncodeInto(text, false, whole));
  const auto holds = [&](const CutRules& rules) {
    std::vector<int32_t> ids;
    for (std::string_view piece : CutText(text, 1, rules)) {
      if (!EncodeInto(piece, false, ids).ok()) return false;
    }
    return ids == whole;
  };
  if (cut_rules_.after_newline)
    cut_rules_.after_newline = holds({.after_newline = true, .before_space = false});
  if (cut_rules_.before_space)
    cut_rules_.before_space = holds({.after_newline = false, .before_space = true});
  return OkStatus();
}

Status HfTokenizer::EncodeInto(std::string_view text, bool add_special_tokens,
                               std::vector<int32_t>& ids) const {
  std::string error;
  if (text_ffi_encode(handle_.get(), Bytes(text), text.size(), add_special_tokens, Into(ids), Into(error))) {
    return OkStatus();
  }
  return InvalidArgument("text of {} bytes cannot be tokenised: {}", text.size(), error);
}

Result<std::vector<int32_t>> HfTokenizer::Encode(std::string_view text, bool add_special_tokens) const {
  if (text.size() <= kParallelBytes || helpers_ == nullptr)
    return EncodeInPieces(text, add_special_tokens, text.size() + 1);
  const size_t share =
      text.size() / (4 * (helpers_->num_threads() + 1));  // several for each thread evens out
  return EncodeInPieces(text, add_special_tokens, std::clamp(share, kMinPieceBytes, kMaxPieceBytes));
}

Result<std::vector<int32_t>> HfTokenizer::EncodeInPieces(std::string_view text, bool add_special_tokens,
                                                         size_t piece_bytes) const {
  const std::vector<std::string_view> pieces = CutText(text, piece_bytes, cut_rules_);
  std::vector<std::vector<int32_t>> piece_ids(pieces.size());
  std::vector<Status> statuses(pieces.size());
  const auto encode = [&](size_t i) { statuses[i] = EncodeInto(pieces[i], false, piece_ids[i]); };
  if (helpers_ != nullptr && pieces.size() > 1) {
    ShareOut(pieces.size(), *helpers_, encode);
  } else {
    for (size_t i = 0; i < pieces.size(); ++i) encode(i);
  }

  size_t num_ids = ids_before_.size() + ids_after_.size();
  for (size_t i = 0; i < pieces.size(); ++i) {
    RETURN_IF_ERROR(statuses[i]);
    num_ids += piece_ids[i].size();
  }
  std::vector<int32_t> ids;
  ids.reserve(num_ids);
  if (add_special_tokens) ids = ids_before_;
  for (const std::vector<int32_t>& part : piece_ids) ids.insert(ids.end(), part.begin(), part.end());
  if (add_special_tokens) ids.insert(ids.end(), ids_after_.begin(), ids_after_.end());
  return ids;
}

Result<std::string> HfTokenizer::Decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::vector<uint32_t> known;
  known.reserve(ids.size());
  for (int32_t id : ids) {
    if (!table_.Known(id))
      return InvalidArgument("token id {} is not in the vocabulary of {} tokens", id, vocab_size());
    known.push_back(static_cast<uint32_t>(id));
  }
  std::string text, error;
  if (!text_ffi_decode(handle_.get(), known.data(), known.size(), skip_special_tokens, Into(text),
                       Into(error))) {
    return InvalidArgument("{} token ids cannot be decoded: {}", ids.size(), error);
  }
  return text;
}

std::optional<int32_t> HfTokenizer::TokenToId(std::string_view token) const {
  const int64_t id = text_ffi_token_to_id(handle_.get(), Bytes(token), token.size());
  return id < 0 ? std::nullopt : std::optional<int32_t>(static_cast<int32_t>(id));
}

std::optional<std::string_view> HfTokenizer::TokenBytes(int32_t id) const {
  if (!byte_level_decoder_) return std::nullopt;
  return table_.Bytes(id);
}

}  // namespace penstock
