// Where a text may be cut so that the token ids of the pieces, one after the other, are those of the whole.
//
// Byte-level BPE tokenizers first split text by a regular expression, whose matches never cross certain
// places: between a newline that ends a line of visible text and the letter that begins the next line, and
// before a lone space between two letters. That holds for the expressions of GPT-2, GPT-4, Llama 3, Qwen,
// DeepSeek and their kin; whether it holds for the one at hand is tested at load (SelfTestText).
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

struct CutRules {
  bool after_newline = false;  // "…x\n" | "y…"
  bool before_space = false;   // "…x" | " y…"
  bool any() const { return after_newline || before_space; }
};

// May `text` be cut before byte `pos`? (False at its ends.)
bool IsCut(std::string_view text, size_t pos, const CutRules& rules);

// Consecutive pieces that make up `text`, each of `piece_bytes` or a little more: to the next place that
// `rules` allow. One piece, the whole, if there is none.
std::vector<std::string_view> CutText(std::string_view text, size_t piece_bytes, const CutRules& rules);

// Some 10 KB of text that is full of cuts next to all kinds of characters, always the same.
std::string SelfTestText();

}  // namespace penstock
