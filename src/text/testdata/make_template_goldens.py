#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Renders the templates of templates/ and the snippets below with transformers, for jinja and chat template tests.

    pip install transformers==5.23.0 jinja2==3.1.6 && python3 make_template_goldens.py

chat_goldens.json: conversations through whole templates. jinja_goldens.json: one expression or statement each. An
"error" instead of "text" says that Python refuses too.
"""
import json
import os

from transformers.utils.chat_template_utils import _compile_jinja_template, render_jinja_template

HERE = os.path.dirname(os.path.abspath(__file__))

TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "The weather – at a place <now> & 'here'",
     "parameters": {"type": "object", "required": ["city"], "properties": {
         "city": {"type": "string", "description": "Größe \"quoted\" \\ path"}, "days": {"type": "integer", "default": 3, "maximum": 18446744073709551615},
         "unit": {"enum": ["c", "f", None, 1.5]}}}}},
    {"type": "function", "function": {"name": "search", "strict": True, "parameters": {"type": "object", "properties": {
        "queries": {"type": "array", "items": {"type": "object", "properties": {"q": {"type": "string"}, "items": {"type": "array", "items": {"type": "number"}}}, "required": ["q"]}},
        "free": {"type": "object"}, "any": {}, "threshold": {"type": "number", "default": 1e-7, "minimum": -0.0, "maximum": 1e22}}}}},
]
CALL = {"role": "assistant", "content": "", "tool_calls": [
    {"type": "function", "id": "1", "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 2, "nested": {"a": [1, 2.0, None, True]}}}}]}
CALLS = {"role": "assistant", "content": "I look.", "tool_calls": CALL["tool_calls"] + [{"function": {"name": "search", "arguments": "{\"raw\": 1}"}}]}
STRING_CALLS = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": n, "arguments": "{\"x\": 1}"}} for n in "ab"]}

SYSTEM = {"role": "system", "content": "  Be brief. 你好  "}
USER = {"role": "user", "content": " What's the weather? 😀\n"}
ASSISTANT = {"role": "assistant", "content": "<think>\nhm, {{ not code }}\n</think>\n\nSunny {% x %}."}
THOUGHT = {"role": "assistant", "content": "Sunny.", "reasoning_content": "\nhm\n"}
OLD_THOUGHT = {"role": "assistant", "content": "Sunny.", "reasoning": "hm"}
TOOL = {"role": "tool", "content": "{\"temp\": 21}", "tool_call_id": "1"}
PARTS = {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "image", "url": "x"}, {"type": "text", "text": "two"}]}

CONVERSATIONS = {
    "user": [USER],
    "system_user": [SYSTEM, USER],
    "turns": [SYSTEM, USER, ASSISTANT, USER],
    "thought": [USER, THOUGHT, USER],
    "old_thought": [USER, OLD_THOUGHT],
    "last_assistant": [USER, ASSISTANT],
    "tool_call": [USER, CALL, TOOL],
    "tool_calls": [SYSTEM, USER, CALLS, TOOL, TOOL, ASSISTANT, USER],
    "string_calls": [USER, STRING_CALLS, TOOL, TOOL],
    "multi_step": [USER, CALL, TOOL, CALL, TOOL],
    "parts": [PARTS],
    "two_systems": [SYSTEM, SYSTEM, USER],
    "controls": [{"role": "developer", "content": "x"}, USER, {"role": "stop", "content": "x"}, USER],
    "empty_content": [{"role": "user", "content": ""}],
}


def chat_cases():
    for template in sorted(os.listdir(os.path.join(HERE, "templates"))):
        for name, messages in CONVERSATIONS.items():
            kwargs = {"enable_thinking": False, "thinking": True, "tools_in_user_message": False, "builtin_tools": ["code_interpreter", "web"]}
            combinations = [(False, {}), (False, kwargs), (True, {})] + ([(True, kwargs)] if name == "tool_call" else [])
            for tools, chosen in combinations:
                if not tools or name in ("user", "system_user", "tool_call", "tool_calls"):
                    yield {"template": template, "conversation": name, "tools": tools, "kwargs": chosen, "add_generation_prompt": True}
            yield {"template": template, "conversation": name, "tools": False, "kwargs": {}, "add_generation_prompt": False}
            yield {"template": template, "conversation": name, "tools": False, "kwargs": {}, "add_generation_prompt": False, "continue_final_message": True}


def run(render):
    try:
        return {"text": render()}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:160]}


def chat_goldens():
    for case in chat_cases():
        with open(os.path.join(HERE, "templates", case["template"]), encoding="utf-8") as file:
            template = file.read()
        special = {"bos_token": "<BOS>", "eos_token": "<EOS>"}
        case.update(run(lambda: render_jinja_template(
            [CONVERSATIONS[case["conversation"]]], tools=TOOLS if case["tools"] else None, chat_template=template,
            add_generation_prompt=case["add_generation_prompt"], continue_final_message=case.get("continue_final_message", False),
            **{**special, **case["kwargs"]})[0][0]))
        yield case


VARIABLES = {
    "n": None, "t": True, "f": False, "i": 7, "neg": -7, "x": 2.5, "big": 12345678901234567890, "s": "Hello World", "u": "Grüße, 你好 😀",
    "ws": "  \t padded \n ", "empty": "", "l": [3, 1, 2], "words": ["b", "A", "c", "a"], "nested": [[1, 2], [3, [4]]], "none_list": [],
    "d": {"b": 1, "a": {"c": [1, "x"]}, "items": "key named items", "get": 5}, "rows": [{"n": "x", "v": 2, "g": "p"}, {"n": "y", "v": 1, "g": "q"}, {"n": "z", "g": "P"}],
    "lines": "one\ntwo\r\nthree\n\nfive\n", "quote": "it's \"q\" \\ \n\t\x07 é \u200b \U0001F600", "floats": [1.0, 0.1, 1e16, 1e15, 1e-5, 0.0001, 123456789.123, -0.0, 1e300],
}

SNIPPETS = r"""
{{ n }} {{ t }} {{ f }} {{ i }} {{ x }} {{ big }} {{ s }} {{ l }} {{ d }} {{ nested }} {{ floats }} {{ missing }}|
{{ quote }} {{ [quote] }} {{ (1,) }} {{ () }} {{ (1, 'a') }} {{ {1: 2, 'k': none, true: 3} }}
{{ 'a' ~ 1 ~ none ~ true ~ 2.0 ~ [1] ~ missing }}
{{ 1 + 2 * 3 - 4 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 10 / 5 }}
{{ 'ab' * 3 }} {{ [1] * 2 }} {{ [1] + [2] }} {{ (1,) + (2,) }} {{ 2 * 'x' }} {{ true + 1 }} {{ 1_000 }} {{ 0x1F }} {{ 0b101 }} {{ 1e3 }} {{ 1.5e-7 }}
{{ 'x' + 1 }}
{{ missing + 'x' }}
{{ missing.attr }}
{{ missing['a'] }}
{{ d.missing.deeper }}
{{ missing() }}
{{ d.missing is defined }} {{ d.a is defined }} {{ missing is undefined }} {{ d.a.c[5] is defined }} {{ n is none }} {{ n is not none }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' < 'b' }} {{ [1, 2] == [1, 2] }} {{ [1] == (1,) }} {{ {'a': 1} == {'a': 1} }} {{ none == false }} {{ 'a' == 1 }} {{ [1,2] < [1,3] }}
{{ 1 < 'a' }}
{{ 2 in l }} {{ 5 not in l }} {{ 'ell' in s }} {{ 'b' in d }} {{ 'z' in d }} {{ 'x' in missing }} {{ not 1 in [2] }}
{{ 1 in 'a1' }}
{{ t and 'yes' or 'no' }} {{ f or n or 'last' }} {{ '' and 'x' }} {{ not t }} {{ not not l }} {{ 'a' if f }}| {{ 'a' if f else 'b' if f else 'c' }}
{{ s[0] }} {{ s[-1] }} {{ s[1:3] }} {{ s[::-1] }} {{ s[::2] }} {{ s[:-3] }} {{ s[-3:] }} {{ s[10:2] }}| {{ s[99] }}| {{ u[7:9] }} {{ u[::-1] }} {{ u[-1] }}
{{ l[0] }} {{ l[-1] }} {{ l[1:] }} {{ l[::-1] }} {{ l[5] }}| {{ l[5:] }} {{ l[-2:] }} {{ l[::-2] }} {{ l[:1] }} {{ (1,2,3)[1:] }} {{ l[100:0:-1] }}
{{ l[::0] }}
{{ d.items() | list }} {{ d['items'] }} {{ d.get('b') }} {{ d.get('zz') }} {{ d.get('zz', 4) }} {{ d.keys() | list }} {{ d.values() | list | length }} {{ d['get'] }}
{{ d.a.c.0 }} {{ d['a']['c'][1] }}|
{{ l.append(4) }}
{{ d.update({'q': 1}) }}
{{ ''.__class__ }}|
{{ l.index(1) }} {{ l.count(3) }} {{ words.index('c') }}
{{ s.upper() }} {{ s.lower() }} {{ s.title() }} {{ s.swapcase() }} {{ 'heLLo wORLD'.capitalize() }} {{ "they're bill's".title() }} {{ u.upper() }} {{ 'ÄÖ'.lower() }}
[{{ ws.strip() }}] [{{ ws.lstrip() }}] [{{ ws.rstrip() }}] [{{ 'xxhixx'.strip('x') }}] [{{ 'abcba'.lstrip('ab') }}] [{{ 'abcba'.rstrip('ab') }}] [{{ '\u3000\u00a0x\u2003'.strip() }}]
{{ 'a,b,,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ '  a  b c '.split() }} {{ ' a b c '.split(none, 1) }} {{ 'a b c'.rsplit(' ', 1) }} {{ ' a  b c '.rsplit(none, 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ 'aXXbXXc'.split('XX')[-1] }} {{ ' a  b c '.rsplit() }}
{{ 'a'.split('') }}
{{ lines.splitlines() }} {{ lines.splitlines(true) }} {{ 'a\x0bb\x0cc\x1cd\u2028e'.splitlines() }}
{{ s.replace('l', 'L') }} {{ s.replace('l', '', 2) }} {{ 'abc'.replace('', '-') }} {{ 'abc'.replace('', '-', 2) }} {{ s | replace('o', '0') }} {{ s | replace('o', '0', 1) }}
{{ s.startswith('He') }} {{ s.startswith(('x', 'Hell')) }} {{ s.endswith('ld') }} {{ s.endswith(('a', 'b')) }} {{ s.startswith('World', 6) }} {{ ''.startswith('') }} {{ s.startswith('o', 4, 5) }}
{{ s.find('o') }} {{ s.rfind('o') }} {{ s.find('zz') }} {{ s.index('W') }} {{ u.find('你') }} {{ s.count('l') }} {{ s.find('o', 5) }} {{ s.count('') }}
{{ s.index('zz') }}
{{ '-'.join(['a', 'b']) }} {{ ', '.join(d) }} {{ '-'.join('abc') }}
{{ '-'.join([1, 2]) }}
{{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('=') }} {{ 'abc'.rpartition('=') }} {{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.py'.removesuffix('.py') }}
[{{ 'ab'.center(7) }}] [{{ 'ab'.ljust(5, '.') }}] [{{ 'ab'.rjust(5) }}] {{ '42'.zfill(5) }} {{ '-42'.zfill(5) }} [{{ 'abc'.center(6, '*') }}] [{{ 'abc'.center(8, '*') }}]
{{ '12'.isdigit() }} {{ '1a'.isdigit() }} {{ 'ab'.isalpha() }} {{ 'a1'.isalnum() }} {{ ' \t'.isspace() }} {{ 'AB'.isupper() }} {{ 'ab1'.islower() }} {{ ''.isdigit() }} {{ 'é'.isalpha() }} {{ 'é'.isascii() }} {{ '1'.islower() }}
{{ '{} and {}'.format(1, 'b') }} {{ '{1}{0}'.format('a', 'b') }} {{ '{x}!'.format(x=5) }} {{ '{{}}'.format() }}
{{ '%s is %d or %5.2f|%-5s|%05d|%x' % ('a', 42, 3.14159, 'l', 7, 255) }} {{ '%s' % 'x' }} {{ '%s%%' | format(5) }} {{ '%r' % 'q' }}
{{ s | length }} {{ l | count }} {{ d | length }} {{ u | length }} {{ missing | length }} {{ '' | length }}
{{ 5 | length }}
{{ l | first }} {{ l | last }} {{ s | first }} {{ u | last }} {{ [] | first }}| {{ d | first }} {{ d | last }}
{{ l | join(', ') }} {{ words | join }} {{ rows | join('-', attribute='n') }} {{ [1, none, true] | join('/') }} {{ s | join('.') }} {{ missing | join }}|
{{ missing | default('dflt') }} {{ n | default('x') }} {{ n | default('x', true) }} {{ '' | d('e', boolean=true) }} {{ missing | default }}| {{ f | default('x') }}
{{ ws | trim }}| {{ 'xxaxx' | trim('x') }} {{ s | upper }} {{ s | lower }} {{ 'hello world-foo (bar' | title }} {{ 'abc DEF' | capitalize }} {{ n | upper }} {{ 12 | string + 'x' }} {{ missing | trim }}|
{{ '5' | int }} {{ '5.7' | int }} {{ 'x' | int }} {{ 'x' | int(9) }} {{ 5.9 | int }} {{ '0x1f' | int(0, 16) }} {{ ' 12 ' | int }} {{ '1e3' | int }} {{ n | int }} {{ '2.5' | float }} {{ 'x' | float }} {{ 3 | float }} {{ 'x' | float(1.5) }} {{ true | int }}
{{ -5 | abs }} {{ (-2.5) | abs }} {{ 2.5 | round }} {{ 3.5 | round }} {{ 2.567 | round(2) }} {{ 2.567 | round(1, 'floor') }} {{ 2.51 | round(0, 'ceil') }} {{ 42 | round }} {{ 2.5 | round | int }} {{ 2.675 | round(2) }}
{{ l | sort }} {{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ l | sort(reverse=true) }} {{ rows | sort(attribute='n', reverse=true) | map(attribute='n') | list }} {{ [[2, 1], [1, 5]] | sort }}
{{ [1, 'a'] | sort }}
{{ d | dictsort }}
{{ {'b': 2, 'A': 1} | dictsort }} {{ {'b': 2, 'A': 1} | dictsort(true) }} {{ {'b': 1, 'a': 2} | dictsort(by='value') }} {{ {'b': 1, 'a': 2} | dictsort(reverse=true) }}
{{ words | unique | list }} {{ [1, 1.0, 2] | unique | list }} {{ l | reverse | list }} {{ s | reverse }} {{ l | min }} {{ l | max }} {{ words | max }} {{ l | sum }} {{ [] | sum }} {{ [] | max }}| {{ [1.5, 2] | sum }} {{ words | min }}
{{ rows | sum(attribute='v') }}
{{ rows | map(attribute='n') | list }} {{ rows | map(attribute='v', default=0) | list }} {{ words | map('upper') | list }} {{ ['1', '2'] | map('int') | sum }} {{ rows | map(attribute='zz') | list | length }} {{ [' a '] | map('trim') | join }} {{ ['ab'] | map('replace', 'a', 'x') | list }}
{{ rows | selectattr('v') | map(attribute='n') | list }} {{ rows | selectattr('v', 'defined') | list | length }} {{ rows | selectattr('v', 'equalto', 1) | map(attribute='n') | list }} {{ rows | rejectattr('v', 'defined') | map(attribute='n') | list }} {{ l | select('odd') | list }} {{ l | reject('>', 1) | list }} {{ [0, 1, ''] | select | list }} {{ rows | selectattr('n', 'in', ['x', 'z']) | list | length }} {{ l | select('ge', 2) | list }}
{% if rows | selectattr('n', 'equalto', 'nobody') %}a generator is true{% endif %} {% if (rows | selectattr('n', 'equalto', 'nobody') | list) %}no{% else %}an empty list is not{% endif %} {{ words | map('upper') is iterable }}
{{ (words | map('upper')) | length }}
{{ l | batch(2) | list }} {{ l | batch(2, 'x') | list }} {% for g, rs in rows | groupby('g') %}{{ g }}:{{ rs | map(attribute='n') | join }};{% endfor %}
{{ d | items | list | length }} {% for k, v in d | items %}{{ k }}{% endfor %} {{ missing | items | list }}
{{ '<a href="x">\'&' | e }} {{ '<b>' | escape | upper }} {{ '<b>' | safe }} {{ 'a b/ü?' | urlencode }} {{ 'one two, three' | wordcount }}
{{ lines | indent }}| {{ lines | indent(2, true) }}| {{ lines | indent(2, blank=true) }}| {{ 'a\nb' | indent('> ') }}| {{ '' | indent }}|
{{ d | tojson }} {{ nested | tojson }} {{ u | tojson }} {{ u | tojson(ensure_ascii=true) }} {{ quote | tojson }} {{ floats | tojson }} {{ big | tojson }} {{ n | tojson }} {{ '</script>&' | tojson }} {{ (1, 2) | tojson }}
{{ d | tojson(indent=2) }} {{ [] | tojson(indent=2) }} {{ {} | tojson(indent=2) }} {{ [[], {}, [1]] | tojson(indent=1) }} {{ d | tojson(sort_keys=true) }} {{ d | tojson(separators=(',', ':')) }} {{ l | tojson(indent=0) }} {{ l | tojson(indent='--') }} {{ {1: 2, none: 3, true: 4, 1.5: 5} | tojson }} {{ d | tojson(indent=2, separators=(', ', ' = ')) }}
{{ missing | tojson }}
{{ range | tojson }}
{{ s is string }} {{ i is number }} {{ t is number }} {{ t is integer }} {{ i is integer }} {{ x is float }} {{ t is boolean }} {{ d is mapping }} {{ l is sequence }} {{ s is sequence }} {{ d is sequence }} {{ d is iterable }} {{ i is iterable }} {{ n is iterable }} {{ range is callable }} {{ s is callable }}
{{ 4 is even }} {{ 3 is odd }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 1 is eq 1 }} {{ 1 is ne(2) }} {{ 2 is gt 1 }} {{ 2 is lessthan 1 }} {{ 1 is in [1] }} {{ 'a' is in 'abc' }} {{ t is true }} {{ 1 is true }} {{ f is false }} {{ 0 is false }} {{ 'ab' is lower }} {{ 'AB' is upper }} {{ n is sameas none }} {{ 1 is sameas true }} {{ t is sameas true }} {{ 'upper' is filter }} {{ 'odd' is test }}
{{ x is not string and s is string }} {{ not x is string }} {{ x is string or s is string }} {{ (x is string) == false }} {{ s is defined and s is not none }}
{% for v in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.cycle('a', 'b') }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.depth }} {% endfor %}
{% for v in [] %}x{% else %}none{% endfor %} {% for v in l if v > 1 %}{{ v }}{{ loop.length }}{% else %}y{% endfor %} {% for v in l if v > 9 %}{{ v }}{% else %}z{% endfor %} {% for v in missing %}x{% else %}undefined{% endfor %}
{% for k in d %}{{ k }} {% endfor %}{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for c in u %}[{{ c }}]{% endfor %}{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{% endfor %}
{% for v in 5 %}{% endfor %}
{% for v in l %}{% if v == 1 %}{% continue %}{% endif %}{{ v }}{% if loop.last %}{% break %}{% endif %},{% endfor %} {% for v in range(10) %}{% if v > 2 %}{% break %}{% endif %}{{ v }}{% endfor %}
{% for a in nested recursive %}{% if a is iterable %}({{ loop(a) }}){{ loop.depth }}{% else %}{{ a }}{% endif %}{% endfor %}
{% for i in range(3) %}{% for j in range(2) %}{{ loop.index }}{{ i }}{{ j }} {% endfor %}{{ loop.index }};{% endfor %}
{{ range(5) | list }} {{ range(2, 5) | list }} {{ range(5, 0, -2) | list }} {{ range(0) | list }} {{ range(-3) | list }} {{ range(10)[3] }}
{{ range(100001) | list | length }}
{% set a = 1 %}{% for v in l %}{% set a = a + v %}{{ a }}{% endfor %}{{ a }} {% set ns = namespace(a=1) %}{% for v in l %}{% set ns.a = ns.a + v %}{% endfor %}{{ ns.a }} {% if t %}{% set a = 'if' %}{% endif %}{{ a }}
{% set a, b = 1, 2 %}{{ a }}{{ b }} {% set a = 1, 2 %}{{ a }} {% set (c, e) = [3, 4] %}{{ c }}{{ e }} {% set ns = namespace({'k': 1}, z=2) %}{{ ns.k }}{{ ns.z }}{{ ns.missing }}| {% set ns.new = 5 %}{{ ns.new }}
{% set q %}block {{ s }}{% endset %}[{{ q }}] {% set q | upper %}block{% endset %}[{{ q }}] {% set q | replace('b', 'c') | upper | trim %} b {% endset %}[{{ q }}]
{% set d.q = 1 %}
{% set ns = namespace() %}{% set ns._x = 1 %}
{% macro m(a, b='dflt', c=none) %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 2) }} {{ m(1, c=3) }} {{ m(b=1, a=2) }} {{ m() }}
{% macro outer() %}{{ s }}{{ later }}{% endmacro %}{% set later = 'set later' %}{{ outer() }} {% macro fact(k) %}{{ 1 if k < 2 else k * (fact(k - 1) | int) }}{% endmacro %}{{ fact(5) }}
{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }} {% macro box(t) %}<{{ t }}>{{ caller() }}</{{ t }}>{% endmacro %}{% call box('b') %}in{{ s }}{% endcall %} {% macro each(l) %}{% for x in l %}{{ caller(x) }}{% endfor %}{% endmacro %}{% call(v) each([1, 2]) %}[{{ v }}]{% endcall %}
{% with a = 1, b = s %}{{ a }}{{ b }}{% endwith %}{{ a }}| {% filter upper %}abc {{ s }}{% endfilter %} {% filter replace('a', 'b') | upper %}aaa{% endfilter %}
{% raw %}{{ not }} {% evaluated %}{% endraw %} {# comment {{ x }} #}after {{ '{{' }} {{ "}}" }} {{ {'a': {'b': 1}} }} {{ {'a': {'b': 1}}['a']['b'] }}
a{%- raw -%}  x  {%- endraw -%}  b
{% generation %}gen{{ s }}{% set leak = 1 %}{% endgeneration %}{{ leak }}|
{% if i > 5 %}big{% elif i > 3 %}mid{% else %}small{% endif %} {% if missing %}x{% elif n %}y{% else %}z{% endif %}
{{ raise_exception('no ' ~ s) }}
{{ nosuchfunction('x') }}
{{ dict(a=1, b=2) }} {{ dict([('x', 1)]) }} {{ dict({'q': 1}, z=3) }}
{{ "esc \n \t \\ \' \" \x41 \u00e9 \U0001F600 \q \101" }} {{ 'con' 'cat' }} {{ "multi
line" }}
{{ -i }} {{ +i }} {{ - 3 | abs }} {{ -3 ** 2 }} {{ (2, 3)[0] }} {{ 'a' if 1 == 1 and not 2 == 3 else 'b' }} {{ 1 if true else 2 if false else 3 }} {{ i | string | length }} {{ (i | string) ~ 'x' | upper }} {{ 'a' + 'b' | upper }} {{ 1 - 1 - 1 }} {{ 2 ** 3 ** 2 }} {{ 8 / 2 / 2 }}
{{ 1 // 0 }}
{{ 1.0 / 0 }}
{{ s | nosuchfilter }}
{{ s is nosuchtest }}
{% nosuchtag %}
{% if x %}
{{ x
{{ (1 }}
{{ 1 + }}
{% for x %}{% endfor %}
{% endfor %}
{{ 'unclosed }}
{% macro %}{% endmacro %}
""".strip("\n")

WHITESPACE = [
    "a\n{% if true %}\nb\n{% endif %}\nc\n", "  {% if true %}  x  {% endif %}  \ny", "a  {%- if true -%}  b  {%- endif -%}  c", "  {%+ if true %}x{% endif %}",
    "{% if true +%}\nx{% endif %}", "a\n  {# comment #}\n  b", "a\n  {#- comment -#}\n  b", "x {{- ' y ' -}} z", "x\n\n{{- 1 }}\n\n{{ 2 -}}\n\n3", "a\r\nb\rc\r\n",
    "{% for i in range(2) %}\n  {{ i }}\n{% endfor %}\n", "{% for i in range(2) -%}\n  {{ i }}\n{%- endfor %}\n", "\n\n{% set x = 1 %}\n\n{{ x }}\n\n", "{% set x = 1 %}   {% set y = 2 %}z",
    "a {% raw %}\n  {{ x }}\n  {% endraw %}\n b", "\t{% if true %}\n\tx\n\t{% endif %}\n", "{{ 'a' }}\n{{ 'b' }}\n\n", "{{ 'x' }}  {% if true %}y{% endif %}", "{#\n multi\n#}\nx", "{{\n1\n+\n2\n}}", "{ % x %} {  { } }", "text only", "", "\n", "{%- if true %} a{% endif -%} \n b", "{{ 1 }}\n  {%- if true %}x{% endif %}", "{##}x{#-#}y", "a\u3000{%- if true %}x{% endif %}", "é\n\u00a0{% if true %}x{% endif %}",
]


def jinja_goldens():
    # A statement that goes on in the next line begins there without a brace.
    snippets, text = [], ""
    for line in SNIPPETS.split("\n"):
        if text and line[:1] in "{[a" and text.count("{{") + text.count("{%") <= text.count("}}") + text.count("%}") or text and '"multi' not in text:
            snippets.append(text)
            text = ""
        text = text + "\n" + line if text else line
    snippets.append(text)
    for snippet in snippets + WHITESPACE:
        yield {"template": snippet, **run(lambda: _compile_jinja_template(snippet).render(**VARIABLES))}


def write(name, value):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as file:
        file.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


def main():
    write("chat_goldens.json", {"conversations": CONVERSATIONS, "tools": TOOLS, "cases": list(chat_goldens())})
    write("jinja_goldens.json", {"variables": VARIABLES, "cases": list(jinja_goldens())})


if __name__ == "__main__":
    main()
