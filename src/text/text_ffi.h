// The C interface of rust/text_ffi: Hugging Face's `tokenizers` library. Private to src/text.
//
// Functions are thread-safe on one tokenizer. No text needs a terminating NUL, and all may hold NULs. Sinks
// are called zero or one time, before the function returns, and must not throw. Where a function can fail, it
// returns false or null after a call of `error`; a panic of the library is such a failure.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

struct TextFfiTokenizer;

struct TextFfiBytes {
  void* context;
  void (*sink)(void* context, const uint8_t* data, size_t len);
};

struct TextFfiIds {
  void* context;
  void (*sink)(void* context, const uint32_t* ids, size_t len);
};

// From the bytes of a tokenizer.json.
TextFfiTokenizer* text_ffi_tokenizer_new(const uint8_t* json, size_t len, TextFfiBytes error);
void text_ffi_tokenizer_free(TextFfiTokenizer* tokenizer);

// Invalid UTF-8 is read as U+FFFD.
bool text_ffi_encode(const TextFfiTokenizer* tokenizer, const uint8_t* text, size_t len,
                     bool add_special_tokens, TextFfiIds ids, TextFfiBytes error);
// Unknown ids are left out.
bool text_ffi_decode(const TextFfiTokenizer* tokenizer, const uint32_t* ids, size_t len,
                     bool skip_special_tokens, TextFfiBytes text, TextFfiBytes error);

uint32_t text_ffi_id_limit(const TextFfiTokenizer* tokenizer);  // the largest id + 1; 0: no tokens
bool text_ffi_id_to_token(const TextFfiTokenizer* tokenizer, uint32_t id, TextFfiBytes token);
int64_t text_ffi_token_to_id(const TextFfiTokenizer* tokenizer, const uint8_t* token,
                             size_t len);  // -1: unknown

// One part of the tokenizer as JSON, as tokenizer.json spells it; null where there is none. The model comes
// without its vocabulary; the added tokens as [[id, {"content":…,"special":…}], …].
enum TextFfiPart : int32_t {
  kTextFfiNormalizer = 0,
  kTextFfiPreTokenizer = 1,
  kTextFfiPostProcessor = 2,
  kTextFfiDecoder = 3,
  kTextFfiModel = 4,
  kTextFfiAddedTokens = 5,
};
bool text_ffi_describe(const TextFfiTokenizer* tokenizer, TextFfiPart part, TextFfiBytes json,
                       TextFfiBytes error);

}  // extern "C"
