// The parser walks the words once. Words of a --config file become words of a command line, walked before the
// real ones, so that both have one grammar and the later one wins.
//
// SPDX-License-Identifier: Apache-2.0
#include "apps/flags.h"

#include <algorithm>
#include <cctype>
#include <numeric>

#include "apps/flag_value.h"
#include "apps/yaml_config.h"

namespace penstock {
namespace {

// "--max_num_seqs.a_b" -> "--max-num-seqs.a_b": underscores before the first dot are dashes.
std::string Normalise(std::string_view word) {
  std::string name(word);
  for (char& c : name) {
    if (c == '.') break;
    if (c == '_') c = '-';
  }
  return name;
}

bool HasAlias(const FlagSpec& spec, std::string_view word) {
  for (size_t begin = 0; begin < spec.aliases.size();) {
    const size_t end = std::min(spec.aliases.find(' ', begin), spec.aliases.size());
    if (spec.aliases.substr(begin, end - begin) == word) return true;
    begin = end + 1;
  }
  return false;
}

int EditDistance(std::string_view a, std::string_view b) {
  std::vector<int> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

// The known name nearest to `name`, or nothing: one that it begins, else the one with the fewest edits.
std::string NearestName(const FlagTable& table, std::string_view name) {
  std::string_view best;
  int best_distance = std::max<int>(2, static_cast<int>(name.size()) / 3) + 1;
  for (const auto& specs : table) {
    for (const FlagSpec& spec : specs) {
      const bool is_prefix = name.size() >= 4 && spec.name.substr(0, name.size()) == name;
      const int distance = is_prefix ? 0 : EditDistance(spec.name, name);
      if (distance < best_distance) {
        best = spec.name;
        best_distance = distance;
      }
    }
  }
  return std::string(best);
}

// Deep merge: objects by key, arrays appended, all else replaced.
void MergeJson(const Json& update, Json* into) {
  if (update.is_object() && into->is_object()) {
    for (const auto& [key, value] : update.items()) {
      if (into->contains(key))
        MergeJson(value, &(*into)[key]);
      else
        (*into)[key] = value;
    }
  } else if (update.is_array() && into->is_array()) {
    for (const Json& item : update) into->push_back(item);
  } else {
    *into = update;
  }
}

}  // namespace

class FlagParser {
 public:
  explicit FlagParser(const FlagTable& table) : table_(table), flags_(table) {}

  // Parses `words` as they stand on a command line, or in a file.
  Status Parse(std::vector<std::string> words, bool from_file);
  ParsedFlags Take() { return std::move(flags_); }

 private:
  // What a word that begins with '-' names.
  struct Named {
    const FlagSpec* spec = nullptr;
    bool negated = false;
    std::string keys;  // of a dotted word: what follows the first dot
  };

  const FlagSpec* FindWord(std::string_view word) const;
  Result<Named> Resolve(const std::string& word) const;
  bool IsFlagWord(const std::string& word) const;
  Status ParseFlag(const std::string& word);
  Status TakeBool(const Named& named, const std::optional<std::string>& attached);
  Status TakeList(const Named& named, std::optional<std::string> attached);
  Status TakeDotted(const Named& named, const std::string& shown, std::optional<std::string> attached);
  Result<std::string> NextValue(const std::string& shown);
  void Store(const FlagSpec& spec, Json value, bool merge);

  const FlagTable& table_;
  ParsedFlags flags_;
  std::vector<std::string> words_;
  size_t next_ = 0;
  bool from_file_ = false;
};

Status FlagParser::Parse(std::vector<std::string> words, bool from_file) {
  words_ = std::move(words);
  next_ = 0;
  from_file_ = from_file;
  bool only_positionals = false;
  while (next_ < words_.size()) {
    std::string word = words_[next_++];
    if (only_positionals || word.size() < 2 || word[0] != '-') {
      flags_.positionals_.push_back(std::move(word));
    } else if (word == "--") {
      only_positionals = true;
    } else if (word == "-h" || word == "--help") {
      if (!flags_.help_) flags_.help_ = "";
    } else if (word.starts_with("--help=")) {
      std::string keyword = Normalise(word.substr(7));
      std::transform(keyword.begin(), keyword.end(), keyword.begin(),
                     [](unsigned char c) { return std::tolower(c); });
      flags_.help_ = std::move(keyword);
    } else if (word == "-v" || word == "--version") {
      flags_.version_ = true;
    } else {
      RETURN_IF_ERROR(ParseFlag(word));
    }
  }
  return OkStatus();
}

// `word` as typed, without '=' and dots: "--max-num-seqs", "-tp".
const FlagSpec* FlagParser::FindWord(std::string_view word) const {
  if (word.starts_with("--")) {
    if (const FlagSpec* spec = FindFlag(table_, word.substr(2))) return spec;
  }
  for (const auto& specs : table_) {
    for (const FlagSpec& spec : specs) {
      if (HasAlias(spec, word)) return &spec;
    }
  }
  return nullptr;
}

Result<FlagParser::Named> FlagParser::Resolve(const std::string& word) const {
  Named named;
  std::string name = Normalise(word);
  if (const size_t dot = name.find('.'); dot != std::string::npos) {
    named.keys = name.substr(dot + 1);
    name.resize(dot);
  }
  named.spec = FindWord(name);
  if (named.spec == nullptr && name.starts_with("--no-")) {
    named.spec = FindWord("--" + name.substr(5));
    named.negated = true;
  }
  if (named.spec == nullptr && name.starts_with("--disable-")) {
    named.spec = FindWord("--enable-" + name.substr(10));
    named.negated = true;
  }
  if (named.spec != nullptr && named.negated && named.spec->kind != FlagKind::kBool) named.spec = nullptr;
  if (named.spec != nullptr) {
    if (!named.keys.empty() && named.spec->kind != FlagKind::kJson) {
      return InvalidArgument("{}: --{} does not take JSON, so it has no keys", word, named.spec->name);
    }
    return named;
  }
  const std::string nearest = name.starts_with("--") ? NearestName(table_, name.substr(2)) : "";
  if (nearest.empty()) return InvalidArgument("unknown flag {}; --help=all lists them", name);
  return InvalidArgument("unknown flag {}; did you mean --{}?", name, nearest);
}

// Whether a word ends the values of a list: a long flag, or a known short one.
bool FlagParser::IsFlagWord(const std::string& word) const {
  if (word.starts_with("--")) return true;
  if (word.size() < 2 || word[0] != '-') return false;
  return word == "-h" || word == "-v" || FindWord(word.substr(0, word.find_first_of("=."))) != nullptr;
}

Status FlagParser::ParseFlag(const std::string& word) {
  std::string shown = word;
  std::optional<std::string> attached;
  if (const size_t equals = word.find('='); equals != std::string::npos) {
    shown = word.substr(0, equals);
    attached = word.substr(equals + 1);
  }
  if (shown.size() == 3 && shown.starts_with("-O")) {  // -O3
    attached = shown.substr(2);
    shown = "-O";
  }
  ASSIGN_OR_RETURN(const Named named, Resolve(shown));
  const FlagSpec& spec = *named.spec;
  shown = "--" + std::string(spec.name);
  if (spec.kind == FlagKind::kBool) return TakeBool(named, attached);
  if (spec.kind == FlagKind::kList) return TakeList(named, std::move(attached));
  if (!named.keys.empty()) return TakeDotted(named, shown, std::move(attached));
  if (!attached && spec.kind == FlagKind::kOptionalString) {
    const bool has_value = next_ < words_.size() && !IsFlagWord(words_[next_]);
    attached = has_value ? words_[next_++] : "";
  }
  if (!attached) {
    ASSIGN_OR_RETURN(attached, NextValue(shown));
  }
  Result<Json> value = ParseFlagValue(spec, *attached);
  if (!value.ok()) return value.status().WithContext(shown);
  Store(spec, *std::move(value), /*merge=*/false);
  return OkStatus();
}

Status FlagParser::TakeBool(const Named& named, const std::optional<std::string>& attached) {
  bool value = true;
  if (attached) {
    Result<Json> parsed = ParseFlagValue(*named.spec, *attached);
    if (!parsed.ok()) return parsed.status().WithContext("--" + std::string(named.spec->name));
    value = parsed->get<bool>();
  }
  Store(*named.spec, Json(value != named.negated), /*merge=*/false);
  return OkStatus();
}

Status FlagParser::TakeList(const Named& named, std::optional<std::string> attached) {
  const std::string shown = "--" + std::string(named.spec->name);
  std::vector<std::string> items;
  if (attached) {
    items.push_back(*std::move(attached));
  } else {
    while (next_ < words_.size() && !IsFlagWord(words_[next_])) items.push_back(words_[next_++]);
    if (items.empty()) return InvalidArgument("{}: got no value, expected one or more words", shown);
  }
  Json list = Json::array();
  for (const std::string& item : items) {
    Result<Json> value = ParseFlagValue(*named.spec, item);
    if (!value.ok()) return value.status().WithContext(shown);
    MergeJson(*value, &list);
  }
  Store(*named.spec, std::move(list), /*merge=*/true);
  return OkStatus();
}

Status FlagParser::TakeDotted(const Named& named, const std::string& shown,
                              std::optional<std::string> attached) {
  const std::string full = shown + "." + named.keys;
  if (!attached) {
    ASSIGN_OR_RETURN(attached, NextValue(full));
  }
  std::string keys = named.keys;
  Json value;
  if (keys.back() == '+') {
    keys.pop_back();
    value = Json::array();
    for (size_t begin = 0; begin <= attached->size();) {
      const size_t end = std::min(attached->find(',', begin), attached->size());
      value.push_back(attached->substr(begin, end - begin));
      begin = end + 1;
    }
  } else {
    value = ParseLooseValue(*attached);
  }
  while (true) {
    const size_t dot = keys.rfind('.');
    const std::string key = keys.substr(dot == std::string::npos ? 0 : dot + 1);
    if (key.empty()) return InvalidArgument("{}: got an empty key, expected --name.key.key value", full);
    value = Json{{key, std::move(value)}};
    if (dot == std::string::npos) break;
    keys.resize(dot);
  }
  Store(*named.spec, std::move(value), /*merge=*/true);
  return OkStatus();
}

Result<std::string> FlagParser::NextValue(const std::string& shown) {
  if (next_ >= words_.size() || IsFlagWord(words_[next_])) {
    return InvalidArgument("{}: got no value, expected one", shown);
  }
  return words_[next_++];
}

void FlagParser::Store(const FlagSpec& spec, Json value, bool merge) {
  const auto same = [&](const GivenFlag& flag) { return flag.spec == &spec; };
  const auto found = std::find_if(flags_.given_.begin(), flags_.given_.end(), same);
  if (found == flags_.given_.end()) {
    flags_.given_.push_back({&spec, std::move(value), from_file_});
    return;
  }
  const bool merge_lists = merge && spec.kind == FlagKind::kList && found->from_file == from_file_;
  if (merge_lists || (merge && spec.kind == FlagKind::kJson)) {
    MergeJson(value, &found->value);
  } else {
    if (found->from_file == from_file_) {
      flags_.warnings_.push_back(
          fmt::format("--{} was given more than once: the last one counts", spec.name));
    }
    found->value = std::move(value);
  }
  found->from_file = from_file_;
}

Result<ParsedFlags> ParseFlags(std::span<const std::string> args, const FlagTable& table) {
  std::vector<std::string> words(args.begin(), args.end());
  FlagParser command_line(table);
  RETURN_IF_ERROR(command_line.Parse(words, /*from_file=*/false));
  ParsedFlags flags = command_line.Take();
  if (FindFlag(table, "config") == nullptr || !flags.Given("config")) return flags;

  const std::string path = flags.String("config");
  ASSIGN_OR_RETURN(std::vector<std::string> file_words, ReadYamlConfig(path, table));
  FlagParser both(table);
  if (Status status = both.Parse(std::move(file_words), /*from_file=*/true); !status.ok()) {
    return status.WithContext(path);
  }
  RETURN_IF_ERROR(both.Parse(std::move(words), /*from_file=*/false));
  return both.Take();
}

}  // namespace penstock
