#!/usr/bin/env python3
"""Makes man pages and completions of the program's own help, which is printed from the tables of its options.

    python3 packaging/manual.py --program build/fhirlake --out DIR

Writes DIR/man/*.1 (a page for each command), DIR/man/fhirlake.conf.5, DIR/fhirlake.bash and DIR/_fhirlake. A help text
that has another form than the one read here ends it with an error.
"""
import argparse
import pathlib
import re
import subprocess
import sys

SUBCOMMANDS = [("audit", "show"), ("client", "keygen")]  # those whose help is another text than their command's
WHAT = {"audit show": "show the records of an audit log", "client keygen": "make a key pair of a client"}
PATHS = {"FILE", "DIR", "DATA", "PLACE", "NEW"}


class Option:
    def __init__(self, name, takes, text):
        self.name, self.takes, self.text = name, takes, text

    @property
    def choices(self):
        """The words of its value that are to be typed as they stand: of rocksdb|URI the first."""
        return [w for w in (self.takes or "").split("|") if re.fullmatch(r"[a-z][a-z0-9-]*|[A-Z]+[0-9]+", w)]

    @property
    def is_path(self):
        return not PATHS.isdisjoint((self.takes or "").split("|"))


class Page:
    """One command: usage, then a list of ("text", line), ("head", line), ("option", Option), ("code", line)."""

    def __init__(self, name, what, help_text):
        self.name, self.what, self.usage, self.parts = name, what, [], []
        lines = help_text.rstrip("\n").split("\n")
        if not lines[0].startswith("Usage: "):
            raise SystemExit(f"manual: the help of {name or 'fhirlake'} does not begin with its usage")
        while lines and lines[0]:
            self.usage.append(re.sub(r"^(Usage: |       )", "", lines.pop(0)))
        examples = False
        for line in lines:
            option = re.match(r"  (--[a-z0-9-]+)(?: (\S+))?(?:\s+(.*))?$", line)
            if re.fullmatch(r"Examples?:", line):
                examples = True
                self.parts.append(("head", "Examples"))
            elif examples and line:
                self.parts.append(("code", line.strip() if not line.startswith("      ") else "    " + line.strip()))
            elif option:
                self.parts.append(("option", Option(option[1], option[2], option[3] or "")))
            elif re.match(r"[A-Z][A-Za-z ]+(of --\w+)?$", line):
                self.parts.append(("head", line))
            elif line.startswith("  "):
                self.parts.append(("code", line.strip()))
            else:
                self.parts.append(("text", line))

    @property
    def options(self):
        return [part for kind, part in self.parts if kind == "option"]


def read(program):
    def told(*words):
        return subprocess.run([program, *words], capture_output=True, text=True, check=True).stdout

    top = told("--help")
    names = re.findall(r"^  ([a-z]+) {2,}(\S.*)$", top, re.M)
    version = told("--version").split()[1]
    pages = [Page(name, what, told(name, "--help")) for name, what in names if name not in ("help", "version")]
    pages += [Page(f"{a} {b}", WHAT[f"{a} {b}"], told(a, b, "--help")) for a, b in SUBCOMMANDS]
    if not pages or not any(page.options for page in pages):
        raise SystemExit("manual: the program's help has no commands")
    return version, names, pages


# ---- man ----

def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def head(name, section, version):
    return [f'.TH {name.upper().replace(" ", "-")} {section} "" "fhirlake {version}" "fhirlake"']


def named(option):
    return f"\\fB{roff(option.name)}\\fR" + (f" \\fI{roff(option.takes)}\\fR" if option.takes else "")


def see_also(pages, but):
    others = [f"fhirlake-{p.name.replace(' ', '-')}" for p in pages if p.name != but]
    lines = [f".BR {roff(name)} ({section})" for name, section in [("fhirlake", 1), *((o, 1) for o in others), ("fhirlake.conf", 5)]]
    return [".SH SEE ALSO", *(line + " ," for line in lines[:-1]), lines[-1]]


def man_page(page, version, pages):
    name = f"fhirlake-{page.name.replace(' ', '-')}"
    out = [*head(name, 1, version), ".SH NAME", f"{roff(name)} \\- {roff(page.what)}", ".SH SYNOPSIS", ".nf",
           *[roff(line) for line in page.usage], ".fi", ".SH DESCRIPTION"]
    in_code = False
    for kind, part in page.parts:
        if in_code and kind != "code":
            out.append(".fi")
            in_code = False
        if kind == "head":
            out.append(f".SH {roff(part.upper())}")
        elif kind == "option":
            out += [".TP", named(part), roff(part.text) or "\\&"]
        elif kind == "code":
            if not in_code:
                out.append(".nf")
                in_code = True
            out.append(roff(part))
        elif part:
            out.append(roff(part))
        elif out[-1] not in (".SH DESCRIPTION", ".PP"):
            out.append(".PP")
    if in_code:
        out.append(".fi")
    # a paragraph that nothing follows
    out = [line for i, line in enumerate(out) if line != ".PP" or (i + 1 < len(out) and not out[i + 1].startswith((".SH", ".TP")))]
    return "\n".join([*out, *see_also(pages, page.name), ""])


def overview(version, names, pages):
    out = [*head("fhirlake", 1, version), ".SH NAME", "fhirlake \\- a FHIR R4 data store that speaks Amazon HealthLake's API",
           ".SH SYNOPSIS", ".B fhirlake", ".I COMMAND", "[options]", ".SH COMMANDS"]
    for name, what in names:
        out += [".TP", f".B {name}", roff(what)]
    out += [".SH FILES", ".TP", ".I /etc/fhirlake/fhirlake.conf", "options of the service; see", ".BR fhirlake.conf (5)",
            ".TP", ".I /var/lib/fhirlake", "its data folder: data stores, jobs, keys, objects"]
    return "\n".join([*out, *see_also(pages, ""), ""])


def conf_page(version, serve):
    out = [*head("fhirlake.conf", 5, version), ".SH NAME", "fhirlake.conf \\- options of fhirlake serve, in a file",
           ".SH DESCRIPTION", "A line is", ".IR \"name \" = \" value\" ,", "with the names of", ".BR fhirlake\\-serve (1)",
           "without their dashes in front. A line that begins with # or ; is a comment. Each option may also stand in the environment, as",
           ".IR FHIRLAKE_OPTION .", "The command line wins, then the environment, then the file."]
    for kind, part in serve.parts:
        if kind == "head" and part != "Examples":
            out.append(f".SH {roff(part.upper())}")
        elif kind == "option" and part.name != "--config":
            out += [".TP", f"\\fB{roff(part.name[2:])}\\fR = \\fI{roff(part.takes or '')}\\fR", roff(part.text) or "\\&"]
    return "\n".join([*out, ".SH SEE ALSO", ".BR fhirlake\\-serve (1)", ""])


# ---- completions ----

def bash(names, pages):
    cases = []
    for page in pages:
        words = " ".join(o.name for o in page.options)
        cases.append(f'    "{page.name}") options="{words}" ;;')

    def such(test):
        return "|".join(f'"{p.name} {o.name}"' for p in pages for o in p.options if o.takes and test(o))

    words = sorted({" ".join(o.choices) for p in pages for o in p.options if o.choices and not o.is_path})
    both = sorted({" ".join(o.choices) for p in pages for o in p.options if o.choices and o.is_path})
    values = [(such(lambda o, w=w, path=path: (" ".join(o.choices), o.is_path) == (w, path)), w, "-f " if path else "")
              for path, all_words in ((False, words), (True, both)) for w in all_words]
    files = such(lambda o: o.is_path and not o.choices)
    others = such(lambda o: not o.is_path and not o.choices)
    seconds = {a: " ".join(b for x, b in SUBCOMMANDS if x == a) for a, _ in SUBCOMMANDS}
    return f"""# completion of fhirlake's commands and options, made from its help
_fhirlake() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command=${{COMP_WORDS[1]}} options=
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "{' '.join(n for n, _ in names)}" -- "$word")
        return
    fi
    case "$command ${{COMP_WORDS[2]}}" in
{chr(10).join(f'    "{a} {b}") command="{a} {b}" ;;' for a, b in SUBCOMMANDS)}
    esac
    case $command in
{chr(10).join(cases)}
    help) options="{' '.join(n for n, _ in names)}" ;;
    esac
    case "$command $before" in
{chr(10).join(f'    {which}) mapfile -t COMPREPLY < <(compgen {path}-W "{some}" -- "$word"); return ;;' for which, some, path in values)}
    {files})
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        compopt -o filenames 2>/dev/null
        return ;;
    {others}) return ;;
    esac
    case "$COMP_CWORD $command" in
{chr(10).join(f'    "2 {a}") options="$options {b}" ;;' for a, b in seconds.items())}
    esac
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
    [ ${{#COMPREPLY[@]}} != 0 ] || [[ $word = -* ]] || {{
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        compopt -o filenames 2>/dev/null
    }}
}}
complete -F _fhirlake fhirlake
"""


def zsh_text(text):
    return re.sub(r"([\\\]\[:'])", lambda m: "'\\''" if m[1] == "'" else "\\" + m[1], text)


def zsh_values(option):
    """The action of an option's value. A space in front: _alternative is called as it is written."""
    words = " ".join(option.choices)
    if option.is_path:
        return f' _alternative "words\\:word\\:({words})" "files\\:file\\:_files"' if words else "_files"
    return f"({words})" if words else ""


def zsh(names, pages):
    out = ["#compdef fhirlake", "# completion of fhirlake's commands and options, made from its help", "_fhirlake() {",
           "    local -a commands", "    commands=("]
    out += [f"        '{n}:{zsh_text(w)}'" for n, w in names]
    out += ["    )", "    if (( CURRENT == 2 )); then", "        _describe command commands", "        return", "    fi", "    case $words[2] in"]
    for page in (p for p in pages if " " not in p.name):
        out += [f"    {page.name})", "        _arguments \\"]
        for o in page.options:
            action = f":{zsh_text(o.takes)}:" + zsh_values(o) if o.takes else ""
            out.append(f"            '*{o.name}[{zsh_text(o.text)}]{action}' \\")
        out += ["            '*:file:_files'", "        ;;"]
    out += ["    help) _describe command commands ;;", "    esac", "}", '_fhirlake "$@"', ""]
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(description="Man pages and completions of the program's help.")
    parser.add_argument("--program", required=True)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    version, names, pages = read(str(pathlib.Path(args.program).resolve()))
    out = pathlib.Path(args.out)
    (out / "man").mkdir(parents=True, exist_ok=True)
    (out / "man" / "fhirlake.1").write_text(overview(version, names, pages))
    for page in pages:
        (out / "man" / f"fhirlake-{page.name.replace(' ', '-')}.1").write_text(man_page(page, version, pages))
    (out / "man" / "fhirlake.conf.5").write_text(conf_page(version, next(p for p in pages if p.name == "serve")))
    (out / "fhirlake.bash").write_text(bash(names, pages))
    (out / "_fhirlake").write_text(zsh(names, pages))


if __name__ == "__main__":
    sys.exit(main())
