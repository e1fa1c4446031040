// ParseFlags: a command line (and the YAML file that it names) to values, by vLLM's conventions:
//
//   --max-num-seqs 32   --max-num-seqs=32   --max_num_seqs 32   -pp 2
//   --enable-x   --no-enable-x   --disable-x                       booleans
//   --max-model-len 128k (decimal)   128K (binary)   25.6k         sizes
//   --served-model-name a b                                        lists
//   --x '{"a": {"b": 1}}'   --x.a.b 1   --x.list+ item             JSON, merged
//   --config file.yaml                                             flags of a file; the command line wins
//   --help   --help=WORD   --version
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "apps/flag_spec.h"
#include "base/json.h"
#include "base/status.h"

namespace penstock {

struct GivenFlag {
  const FlagSpec* spec = nullptr;
  Json value;  // of the kind of the flag
  bool from_file = false;
};

class ParsedFlags {
 public:
  explicit ParsedFlags(FlagTable table) : table_(std::move(table)) {}

  // In the order in which they were first given, those of the file first. Each flag once.
  const std::vector<GivenFlag>& given() const { return given_; }
  const std::vector<std::string>& positionals() const { return positionals_; }
  // Of --help or --help=WORD: the word, lower case; empty for plain --help.
  const std::optional<std::string>& help() const { return help_; }
  bool version() const { return version_; }
  // What is odd but no error: a flag that was given twice.
  const std::vector<std::string>& warnings() const { return warnings_; }

  // Values: what was given, else the default of the table. A name that is not in the table, or has neither,
  // is a CHECK failure. `Known`: the command has such a flag. `Has` is true where one was given or has a
  // default; `Given` only where one was given.
  bool Known(std::string_view name) const;
  bool Has(std::string_view name) const;
  bool Given(std::string_view name) const;
  bool FromFile(std::string_view name) const;  // given, by the file of --config and not by the command line
  bool Bool(std::string_view name) const;
  int64_t Int(std::string_view name) const;
  double Float(std::string_view name) const;
  std::string String(std::string_view name) const;
  std::vector<std::string> List(std::string_view name) const;
  Json JsonValue(std::string_view name) const;

 private:
  friend class FlagParser;
  const GivenFlag* Find(std::string_view name) const;  // null where it was not given
  Json Value(std::string_view name) const;

  FlagTable table_;
  std::vector<GivenFlag> given_;
  std::vector<std::string> positionals_;
  std::optional<std::string> help_;
  bool version_ = false;
  std::vector<std::string> warnings_;
};

// The spec of a flag's full name, or null.
const FlagSpec* FindFlag(const FlagTable& table, std::string_view name);

// `args`: the words after the command. kInvalidArgument names the flag, what was got and what was expected;
// an unknown flag comes with the nearest known one. A file that --config names is read.
Result<ParsedFlags> ParseFlags(std::span<const std::string> args, const FlagTable& table);

// kUnimplemented for the first flag that asks for something that is not here.
Status CheckSupported(const ParsedFlags& flags);

// What was given, flag by flag in the order of their names: " --a 1 --b x". The same for the same flags.
std::string FlagsText(const ParsedFlags& flags);

// One line for each given flag that has no effect.
std::vector<std::string> NoOpLines(const ParsedFlags& flags);

}  // namespace penstock
