#!/usr/bin/env python3
"""Writes tokenizer_golden.json: hard strings and the ids that Hugging Face's `tokenizers` gives for them.

    pip install tokenizers==0.23.3
    python3 tests/golden/make_tokenizer_golden.py models/minilm6-sst2 > tests/golden/tokenizer_golden.json

With --probe it prints, for every code point, what cleaning, NFD, accent stripping and lower casing make of it and whether it
is a word character, white space or punctuation: what shards/unicode_exceptions.cc was derived from.
"""
import json
import sys

from tokenizers import Tokenizer, __version__, normalizers, pre_tokenizers

WORD = "unbelievable"
SINGLE = {
    "accents": ["caf\u00e9", "cafe\u0301", "na\u00efve r\u00e9sum\u00e9", "\u00c5ngstr\u00f6m", "\u00c9COLE", "Ti\u1ebfng Vi\u1ec7t", "\u0141\u00f3d\u017a",
                "\u00d8re", "\u0110\u00e0 N\u1eb5ng", "e\u0301\u0323\u0302", "\u1e69", "s\u0307\u0323", "\u01d5\u01d7\u01d9", "\u212b", "\u2126 ohm", "\u1fb7"],
    "combining": ["a\u0300\u0301\u0302\u0303", "\u0301abc", " \u0301 ", "a\u20dd", "x\u0338=y", "\u0b95\u0bcd\u0bb7", "\u0928\u092e\u0938\u094d\u0924\u0947",
                  "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "o\u1ac0k", "a\u1df6b", "\u302ea\u302f", "\u3099\u304b", "\u304b\u3099", "\U0001d165\U0001d16e",
                  "a\u05b0\u05bc\u05c1", "\u0f71\u0f72\u0f74"],
    "cjk": ["\u4f60\u597d\u4e16\u754c", "hello\u4e16\u754cbye", "\u65e5\u672c\u8a9e\u306e\u30c6\u30b9\u30c8", "\u30ab\u30bf\u30ab\u30ca", "\uff76\uff9e", "\u3400\u4dbf\u9fff",
            "\U00020000\U0002a6df", "\U0002b740\U0002b81f", "\U0002b820x\U0002b91f", "\U0002ceaf\U0002ceb0", "\uf900\ufaff", "\U0002f800", "\u3002\u300c\u672c\u300d",
            "\uff01\uff1f\uff21\uff22", "\u3000full\u3000width\u3000", "\u3007\u3021", "a\u4e00b", "\U00030000"],
    "hangul": ["\ud55c\uad6d\uc5b4", "\u1112\u1161\u11ab", "\uac00\ub098\ub2e4 abc", "\u3131\u314f", "\ud7a3"],
    "emoji": ["good \U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u2764\ufe0f love", "\U0001f1e9\U0001f1ea", "\U0001f44d\U0001f3fd", "a\U0001f600b", "\u263a", "\u2122 \u00ae \u00a9"],
    "joiners": ["a\u200db", "a\u200cb", "zero\u200bwidth", "soft\u00adhyphen", "word\u2060joiner", "\u200e\u200f", "left\u202aright\u202c", "\u2066iso\u2069"],
    "right to left": ["\u0634\u0643\u0631\u0627", "\u05e9\u05dc\u05d5\u05dd", "\u0645\u064f\u062d\u064e\u0645\u0651\u064e\u062f", "abc \u05e9\u05c1 def", "\u0660\u0661\u0662", "\u061f\u060c\u061b", "\ufefb"],
    "controls": ["a\u0000b", "\u0001\u0002", "a\tb\nc\rd", "a\u000bb\u000cc", "\u001b[31mred", "del\u007fete", "a\u0085b", "\u0080\u009f", "\ue000private\uf8ff", "\U000f0000", "\u0890\u08e2x",
                 "\U000110cd", "a\u001fb"],
    "replacement and marks": ["a\ufffdb", "\ufffd", "\ufeffbom", "mid\ufeffdle", "\ufffe", "\uffff", "\U0010ffff"],
    "spaces": ["", " ", "   \t\n ", "\u00a0", "no\u00a0break", "\u2003em\u2003", "\u1680ogham", "\u2028line\u2029para", "\u202fthin\u205f", "\u180emongol", "  lead", "trail  ", "a  b"],
    "case": ["\u0130stanbul", "\u0131I\u0130i", "stra\u00dfe STRASSE \u1e9e", "\u03a3\u038a\u03a3\u03a5\u03a6\u039f\u03a3", "\u01c5 \u01c4 \u01c6", "\ufb01ne \ufb02ow o\ufb03ce", "\u1e9b\u0323", "\u24b6\u24d0", "\uff37\uff49\uff44\uff45",
             "\u10d0\u1c90", "\u13a0\uab70", "\u04d2 \u0419 \u0401", "\ua7cb\ua7dc", "\U00010400", "MiXeD CaSe", "K\u212a"],
    "unknown": ["\u2603\u2603\u2603", "\U00012000", "xyz\u2603abc", "\ufdfd", "\u0f00", "\u16a0\u16a1", "a\u2603 b", "qqqqqqqq\u00a7"],
    "long words": ["a" * 99, "a" * 100, "a" * 101, "\u00e9" * 100, "\u00e9" * 101, "e\u0301" * 100, "e\u0301" * 101, "b" * 100 + " " + "b" * 101, "x" * 5000, "\u4e00" * 101,
                   "!" * 101, "a" * 50 + "-" + "a" * 51],
    "special tokens": ["[CLS] hello [SEP]", "[MASK]", "a[MASK]b", "[mask]", "[SEP][SEP]", "[ SEP ]", "[UNK] [PAD]", "[CLS", "[[SEP]]", "[SE P]", "\u00e9[SEP]\u00c9", "[SEP]\u0301", "\u0000[SEP]", "[MA\u0000SK]",
                       "##ing", "[unused1]", "[SEP] [CLS] [MASK][PAD]", "\uff3bSEP\uff3d"],
    "punctuation": ["don't", "it's 5:30 p.m.!", "a-b_c", "\u2014dash\u2013", "\u201cquotes\u201d \u2018x\u2019", "\u00bf\u00a1", "$100 + 5% = ^x", "`~|<>", "\u2026", "\u2e43\u2e52", "\u166d", "\U000111c9", "\u061d",
                    "\u00a7\u00b6\u00b7", "http://a.b/c?d=e&f#g", "C++ & C#", "\u20ac5", "1,000.50", "\u00b2\u00bd"],
    "words": [WORD, "unaffable", "antidisestablishmentarianism", "Supercalifragilisticexpialidocious", "the quick brown fox", "bergen's strongest and most sure-handed work", "0123456789" * 5,
              "a b c d e f g h i j k l m n o p", "tessera", "\u00b5m \u03bcm", "x\u00d7y", "\u2160\u2161", "\u00aa\u00ba"],
    "very long": ["the film is great . " * 300, "ab\u00e9 " * 400, "[SEP] " * 600],
}
PAIRS = [("hello world", "good bye"), ("", ""), ("", "x"), ("x", ""), ("a b c d e f g h", "i j"), ("i j", "a b c d e f g h"),
         ("a b c d e f g h", "i j k l m n o p"), ("a b c d e f g h i", "j k l m n o p q"), ("a [SEP] b", "[CLS] c"),
         ("\u4f60\u597d", "caf\u00e9 " * 40)]


def probe():
    rules = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    steps = [normalizers.BertNormalizer(**{**rules, k: True}) for k in ("clean_text", "strip_accents", "lowercase")]
    steps.append(normalizers.NFD())
    for code in (c for c in range(0x110000) if not 0xD800 <= c < 0xE000):
        text = "a" + chr(code) + "b"
        made = [",".join("%X" % ord(c) for c in s.normalize_str(text)[1:-1]) for s in steps]
        kind = {1: 'word', 2: 'space', 3: 'punctuation'}[len(pre_tokenizers.BertPreTokenizer().pre_tokenize_str(text))]
        print("%X" % code, *made, kind, sep="|")


def main():
    if sys.argv[1] == "--probe":
        return probe()
    tokenizer = Tokenizer.from_file(sys.argv[1] + "/tokenizer.json")
    cases = []

    def add(kind, limit, a, b=None):
        tokenizer.enable_truncation(limit)
        got = tokenizer.encode(a) if b is None else tokenizer.encode(a, b)
        case = {"kind": kind, "max": limit, "a": a, "ids": got.ids, "truncated": bool(got.overflowing)}
        cases.append(case if b is None else {**case, "b": b, "types": got.type_ids})

    for kind, texts in SINGLE.items():
        for text in texts:
            add(kind, 512, text)
    for limit in (3, 4, 5, 16):
        add("truncation", limit, "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen")
    for a, b in PAIRS:
        for limit in (3, 4, 5, 8, 11, 12, 13, 64):
            add("pair", limit, a, b)
    print(json.dumps({"tokenizers": __version__, "cases": cases}, separators=(",", ":")).replace('{"kind"', '\n{"kind"'))


main()
