"""The page on conformance: results of the public tests for HTTP caches, and CloudFront's behavior with the tests that show it."""

import collections
import json
import pathlib
import re
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BEHAVIORS = ROOT / "tests/real/cloudfront.toml"
PAGE = ROOT / "docs/conformance.md"
TABLE = "## CloudFront's behavior\n"

HEAD = """\
# Conformance

[`benches/conformance`](../benches/conformance) writes this page.

"""

# Why Forebay does not pass a test of the newest suite that the release on npm does not have, or has in another form.
REASONS = {
    "interim-103": "of a 103, only `Link` and `Content-Security-Policy` are sent on: response headers policies do not apply to it",
    "interim-no-header-reuse": "of a 103, only `Link` and `Content-Security-Policy` are sent on: response headers policies do not apply to it",
}


def behaviors():
    return tomllib.loads(BEHAVIORS.read_text())["behavior"]


def known_tests():
    """The names of all tests, with their files."""
    names = {}
    rust = r"#\[(?:tokio::)?test(?:\([^]]*\))?\]\s*(?:#\[[^]]*\]\s*)*(?:async )?fn (\w+)\("
    for folder, ending, form in (("src", "rs", rust), ("tests", "rs", rust), ("tests/real", "py", r"def (test_\w+)\(")):
        for file in (ROOT / folder).rglob(f"*.{ending}"):
            for name in re.findall(form, file.read_text()):
                names.setdefault(name, file.relative_to(ROOT))
    return names


def table():
    """CloudFront's behavior with the tests that show it."""
    known = known_tests()
    lines = [
        TABLE,
        "Each row is a behavior that CloudFront documents, with the page of the Amazon CloudFront Developer Guide and the tests that",
        "show it here. [Differences from CloudFront](cloudfront.md) lists what is different on purpose.\n",
        "| behavior | documented in | shown by |",
        "|---|---|---|",
    ]
    for row in behaviors():
        tests = ", ".join(f"[`{name}`](../{known[name]})" for name in row["tests"])
        lines.append(f"| {row['name']} | {row['source']} | {tests} |")
    return "\n".join(lines) + "\n"


def suite_results(tests, results, own, versions, revision, date):
    """The results of the public suite: `results` has the tests that each cache passes with those that they depend on, `own` those
    that Forebay passes by themselves."""
    count = lambda cache, **wanted: sum(all(test[key] == value for key, value in wanted.items()) and test["id"] in results[cache] for test in tests)  # noqa: E731
    number = collections.Counter(test["kind"] for test in tests)
    lines = [
        "## HTTP caching\n",
        f"The [public tests for HTTP caches](https://cache-tests.fyi) at commit {revision}, run on {date}. A *required* test checks what",
        "RFC 9111 demands, an *optimal* one what a good cache does. As on the authors' page, a test counts only if those that it depends",
        "on pass, too. The other caches are Debian's packages with the settings of the suite's authors, Forebay has those of",
        "[`config/conformance.toml`](../config/conformance.toml).\n",
        f"| cache | required, of {number['required']} | optimal, of {number['optimal']} |",
        "|---|---|---|",
    ]
    for cache in results:
        lines.append(f"| {cache} {versions[cache]} | {count(cache, kind='required')} | {count(cache, kind='optimal')} |")
    lines += ["\nRequired tests by area:\n", f"| area | tests | {' | '.join(results)} |", f"|---|---|{'---|' * len(results)}"]
    for suite, of_suite in collections.Counter(test["suite"] for test in tests if test["kind"] == "required").items():
        counts = " | ".join(str(count(cache, kind="required", suite=suite)) for cache in results)
        lines.append(f"| {suite} | {of_suite} | {counts} |")
    reasons = json.loads((ROOT / "tests/real/conformance.json").read_text()) | REASONS
    lines += ["\nWhat Forebay does not pass, and why:\n", "| test | kind | reason |", "|---|---|---|"]
    for test in tests:
        if test["kind"] != "check" and test["id"] not in results["Forebay"]:
            reason = reasons.get(test["id"])
            if test["id"] in own:
                reason = f"passes, but depends on {', '.join(f'`{name}`' for name in test['depends_on'])}"
            if not isinstance(reason, str):
                raise SystemExit(f"no reason is known why {test['id']} does not pass: add it to REASONS")
            lines.append(f"| `{test['id']}` | {test['kind']} | {reason} |")
    lines.append("\nEach change of Forebay is tested with the suite's release on npm, 0.4.5.\n")
    return "\n".join(lines)


def page(results):
    return HEAD + results + "\n" + table()


def with_current_table(text):
    """The page with the table of CloudFront's behavior as it must be."""
    return text[: text.index(TABLE)] + table()
