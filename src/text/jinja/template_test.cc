// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/template.h"

#include <gtest/gtest.h>

#include <ctime>

#include "base/json.h"
#include "text/testdata.h"

namespace penstock::jinja {
namespace {

using Variables = std::vector<std::pair<std::string, const Json*>>;

Result<std::string> RenderText(std::string_view source, const Variables& variables = {},
                               const Limits& limits = Limits(), std::time_t now = 0) {
  ASSIGN_OR_RETURN(const Template parsed, Template::Parse(source));
  return parsed.Render(variables, now, limits);
}

std::string Describe(const Result<std::string>& result) {
  return result.ok() ? "text: " + *result : "error: " + result.status().message();
}

TEST(Template, RendersAsJinja2) {
  const Json goldens = *ReadJsonFile(TestdataPath("jinja_goldens.json"));
  Variables variables;
  for (const auto& [name, value] : goldens["variables"].items()) variables.emplace_back(name, &value);
  ASSERT_GE(goldens["cases"].size(), 130u);
  for (const Json& golden : goldens["cases"]) {
    const Result<std::string> result = RenderText(golden["template"].get<std::string>(), variables);
    const std::string expected =
        golden.contains("text") ? "text: " + golden["text"].get<std::string>() : "error";
    const std::string got = golden.contains("text") ? Describe(result)
                            : result.ok()           ? Describe(result)
                                                    : "error";
    EXPECT_EQ(got, expected) << golden["template"]
                             << (golden.contains("error") ? golden["error"].dump() : "");
  }
}

TEST(Template, ErrorsNameTheLine) {
  const auto message = [](std::string_view source) { return RenderText(source).status().message(); };
  EXPECT_EQ(message("a\n\n{{ x.y }}"), "chat template, line 3: 'x' is undefined, and has no 'y'");
  EXPECT_EQ(message("a\n{% if %}"), "chat template, line 2: unexpected '%}'");
  EXPECT_EQ(message("{{ 'a'.nope() }}"), "chat template, line 1: 'nope' is undefined, and cannot be called");
  EXPECT_EQ(message("\n{{ 1 | nope }}"), "chat template, line 2: no filter named 'nope'");
  EXPECT_EQ(message("{{ raise_exception('as it is') }}"), "as it is");
}

TEST(Template, StrftimeNowIsLocalTime) {
  const std::time_t now = 1700000000;
  std::tm local{};
  localtime_r(&now, &local);
  char expected[64];
  std::strftime(expected, sizeof(expected), "%d %b %Y, %H:%M %A", &local);
  EXPECT_EQ(*RenderText("{{ strftime_now('%d %b %Y, %H:%M %A') }}", {}, {}, now), expected);
}

// Integers beyond 64 bits are exact where JSON brings them, and an error where they overflow.
TEST(Template, LargeIntegers) {
  EXPECT_EQ(*RenderText("{{ 18446744073709551615 }} {{ 18446744073709551615 * 10 }}"),
            "18446744073709551615 184467440737095516150");
  EXPECT_FALSE(RenderText("{{ 10 ** 60 }}").ok());
  EXPECT_FALSE(RenderText("{{ 99999999999999999999999 }}").ok());
  EXPECT_EQ(*RenderText("{{ 1 ** 99999999999 }} {{ (-1) ** 99999999999 }}"), "1 -1");
}

// A program that would run, grow or recurse without end. Each must end with an error, soon.
class TemplateAttack : public testing::TestWithParam<const char*> {};

TEST_P(TemplateAttack, EndsWithAnError) {
  Limits limits;
  limits.max_steps = 2'000'000;
  limits.max_live_bytes = 64 << 20;
  limits.max_output_bytes = 8 << 20;
  const Result<std::string> result = RenderText(GetParam(), {}, limits);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument);
  EXPECT_LT(result.status().message().size(), 300u);
}

INSTANTIATE_TEST_SUITE_P(
    Programs, TemplateAttack,
    testing::Values(
        "{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(100000) %}{% endfor %}{% "
        "endfor %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(100) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s.replace('x', 'xxxxxxxx') "
        "%}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = '%s%s' % (ns.s, ns.s) %}{% "
        "endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = '{0}{0}'.format(ns.s) %}{% "
        "endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = [ns.s, ns.s] | join %}{% "
        "endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set q %}{{ ns.s }}{{ ns.s }}{% endset "
        "%}{% set ns.s = q %}{% endfor %}",
        "{% set ns = namespace(s='<') %}{% for i in range(100) %}{% set ns.s = ns.s | e %}{% set ns.s = "
        "ns.s.replace('&', '<<') %}{% endfor %}",
        "{{ 'a' * 100000000000000000000 }}", "{{ 'a' * 1000000000 }}", "{{ [1] * 9999999999 }}",
        "{{ ('a' * 1000000) * 1000000 }}", "{{ 'a'.center(10000000000) }}", "{{ 'a'.zfill(10000000000) }}",
        "{{ 'a'.ljust(99999999999999999999) }}", "{{ '%99999999d' % 1 }}", "{{ '%.99999999f' % 1 }}",
        "{{ 'a' | indent(1000000000) }}", "{{ [1] | tojson(indent=1000000000) }}",
        "{{ [1] | batch(99999999999) | list }}",
        "{{ [1] | batch(900000, 'x') | map('list') | map('tojson') | map('list') | map('tojson') | list }}",
        // Nested values: destructors, printers and comparisons recurse.
        "{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = [ns.l] %}{% endfor %}",
        "{% set ns = namespace(l={}) %}{% for i in range(100000) %}{% set ns.l = {'a': ns.l} %}{% endfor %}",
        "{% set ns = namespace(l=()) %}{% for i in range(100000) %}{% set ns.l = (ns.l, 1) %}{% endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ "
        "ns.l }}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ "
        "ns.l | tojson }}",
        "{% set ns = namespace(l=[1], m=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% set "
        "ns.m = [ns.m, ns.m] %}{% endfor %}{{ ns.l == ns.m }}",
        "{% set ns = namespace(l=[1], m=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% set "
        "ns.m = [ns.m, ns.m] %}{% endfor %}{{ ns.l < ns.m }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f() %}x{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(a=f()) %}{% endmacro %}{{ f() }}",
        "{% macro f() %}{% call f() %}{% endcall %}{% endmacro %}{% call f() %}{% endcall %}",
        "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% for a in range(100000) %}{% macro m() %}{% endmacro %}{% for b in range(100000) %}{% macro n() "
        "%}{% endmacro %}{% endfor %}{% endfor %}",
        "{% for a in range(100000) %}{{ "
        "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "xxxxxx' }}{% endfor %}",
        "{{ range(100000) | map('string') | map('list') | map('join') | map('list') | map('tojson') | "
        "map('list') | map('tojson') | map('list') | unique | list }}",
        "{{ range(100000) | unique | list | length }}", "{{ 2 ** 999999999999999999 }}",
        "{{ ([0] * 99999 + [1]) in [[0] * 100000] * 100000 }}",
        "{% set s = 'ab' * 1000000 %}{% for i in range(100000) %}{% set x = s.replace('b', 'c') %}{% endfor "
        "%}",
        "{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{{ 'b' in s }}{% endfor %}",
        "{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{{ s | length }}{% endfor %}",
        "{% set s = 'a ' * 1000000 %}{{ s.split() | map('list') | list }}", "{{ ('a' * 10000000) | list }}",
        "{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{% set x = s.upper() %}{% endfor %}",
        "{% set s = ' ' * 1000000 %}{% for i in range(100000) %}{% set x = s.strip() %}{% endfor %}",
        "{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{% if s.isalpha() %}{% endif %}{% endfor %}",
        "{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{% if s is lower %}{% endif %}{% endfor %}"));

TEST(TemplateLimits, NestedSourceIsRefused) {
  const auto repeat = [](std::string_view text, int count) {
    std::string out;
    for (int i = 0; i < count; ++i) out += text;
    return out;
  };
  for (const auto& [open, middle, close] :
       std::vector<std::tuple<std::string, std::string, std::string>>{{"(", "1", ")"},
                                                                      {"[", "", "]"},
                                                                      {"{1:", "1", "}"},
                                                                      {"-", "1", ""},
                                                                      {"not ", "1", ""},
                                                                      {"f(", "", ")"},
                                                                      {"1 if ", "1", " else 1"},
                                                                      {"1 + ", "1", ""},
                                                                      {"1 ** ", "1", ""},
                                                                      {"1 or ", "1", ""},
                                                                      {"a[", "1", "]"},
                                                                      {"", "a", ".a"},
                                                                      {"", "a", "|e"},
                                                                      {"", "a", "()"},
                                                                      {"", "a", " is string"}}) {
    EXPECT_FALSE(Template::Parse("{{ " + repeat(open, 100000) + middle + repeat(close, 100000) + " }}").ok())
        << open << close;
  }
  EXPECT_FALSE(Template::Parse(repeat("{% if 1 %}", 100000) + repeat("{% endif %}", 100000)).ok());
  EXPECT_FALSE(Template::Parse(repeat("{% for a in b %}", 100000)).ok());
  EXPECT_FALSE(Template::Parse("{% set " + repeat("(", 100000) + "a = 1 %}").ok());
  // What is long but not nested is fine.
  EXPECT_TRUE(Template::Parse("{% if 1 %}" + repeat("{% elif 2 %}x", 10000) + "{% endif %}").ok());
  EXPECT_EQ(*RenderText("{{ " + repeat("'a' ~ ", 5000) + "'b' }}"), repeat("a", 5000) + "b");
  EXPECT_EQ(*RenderText("{{ " + repeat("(", 30) + "1" + repeat(")", 30) + " }}"), "1");
}

TEST(TemplateLimits, DeepInputIsRefused) {
  Json deep = 1;
  for (int i = 0; i < 400; ++i) deep = Json::array({std::move(deep)});
  EXPECT_FALSE(RenderText("{{ x }}", {{"x", &deep}}).ok());
}

TEST(TemplateLimits, LargeInputIsFine) {
  const Json large = std::string(10 << 20, 'x'), many = Json(std::vector<std::string>(200000, "word"));
  EXPECT_EQ(RenderText("{{ x }}{{ x | trim }}{{ x.replace('x', 'yy') }}", {{"x", &large}})->size(),
            size_t{40} << 20);
  EXPECT_EQ(RenderText("{% for w in x %}{{ w | upper }}{% endfor %}", {{"x", &many}})->size(), 800000u);
}

// What is stashed away and used after its time must still be there (or be refused).
TEST(Template, ObjectsOutliveTheirBlocks) {
  EXPECT_EQ(*RenderText("{% set ns = namespace() %}{% for a in [1, 2] %}{% set ns.l = loop %}{% endfor %}{{ "
                        "ns.l.length }}"),
            "2");
  EXPECT_EQ(*RenderText("{% set ns = namespace() %}{% for a in ['x'] %}{% macro m() %}{{ a }}{% endmacro "
                        "%}{% set ns.m = m %}{% endfor %}{{ ns.m() }}"),
            "x");
  EXPECT_EQ(*RenderText("{% set ns = namespace() %}{% macro f() %}{% set ns.c = caller %}{% endmacro %}{% "
                        "for a in ['y'] %}{% call f() %}{{ a }}{% endcall %}{% endfor %}{{ ns.c() }}"),
            "y");
  EXPECT_EQ(*RenderText("{% set ns = namespace() %}{% set ns.self = ns %}{{ ns.self.self.self is defined }}"),
            "True");
  EXPECT_EQ(*RenderText("{% set ns = namespace() %}{% for a in [1, 2] %}{% set ns.f = loop.cycle %}{% endfor "
                        "%}{{ ns.f('a', 'b') }}"),
            "b");
  EXPECT_TRUE(RenderText("{% set ns = namespace() %}{% for a in [[2]] recursive %}{% set ns.l = loop %}{% "
                         "endfor %}{{ ns.l([]) }}")
                  .ok());
}

}  // namespace
}  // namespace penstock::jinja
