//! The documents are tested: the contract's examples give their output, log lines to look up exist, every file is on the map of
//! the code, links have targets, and the words are those of the glossary.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use fixtures::document::{Block, blocks};
use fixtures::repository;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

// =========================================================================================================== README.md

/// A block with its output, or text from a file: each block that is no command. tests/e2e/tests/readme.rs runs the commands.
#[test]
fn readme_shows_what_is_real() -> Result<()> {
    let all = blocks(&repository("README.md"))?;
    let others: Vec<_> = all.iter().filter(|block| block.language != "sh").collect();
    let [first, processor, examples] = others[..] else { anyhow::bail!("README.md has other blocks: {others:?}") };

    let shown = example_output()?;
    ensure!(all[0].text == "head -n 1 examples/insights.jsonl | telegraf-algorithmia\n", "{:?}", all[0]);
    ensure!(shown.starts_with(&first.text), "the first message does not become {}, but:\n{shown}", first.text);
    for line in examples.text.lines() {
        // A rejected message without a time gets the time at which it is read.
        let stable = line.starts_with("algorithmia,").then_some(line).or_else(|| Some(line.rsplit_once(' ')?.0));
        let stable = stable.context("an example has no time")?;
        ensure!(shown.lines().any(|given| given.starts_with(stable)), "examples/ does not give {line}, but:\n{shown}");
    }

    let configuration = fs::read_to_string(repository("telegraf/telegraf.conf"))?;
    let (_, section) = configuration.split_once("\n[[processors.execd]]\n").context("no processor")?;
    let (section, _) = section.split_once("\n[[").context("the processor is the last section")?;
    let lines = section.lines().filter(|line| !line.is_empty() && !line.trim_start().starts_with('#'));
    let section: String = std::iter::once("[[processors.execd]]").chain(lines).flat_map(|line| [line, "\n"]).collect();
    ensure!(processor.text == section, "the processor of telegraf.conf is\n{section}");
    Ok(())
}

/// What the program makes of the sample.
fn example_output() -> Result<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_telegraf-algorithmia"));
    let output = command.arg(repository("examples/insights.jsonl")).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn readme_is_short() -> Result<()> {
    let lines = fs::read_to_string(repository("README.md"))?.lines().count();
    ensure!(lines <= 150, "README.md has {lines} lines, and may have 150");
    Ok(())
}

#[test]
fn every_field_of_the_report_is_documented() -> Result<()> {
    let source = fs::read_to_string(repository("src/bin/telegraf-algorithmia/execd/stats.rs"))?;
    let (source, _) = source.split_once("#[cfg(test)]").context("stats.rs has no tests")?;
    let mut names: BTreeSet<_> =
        source.split("field(\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0)).collect();
    names.extend(["lag_mean_ms", "lag_max_ms"].iter().filter(|name| source.contains(&format!("\"{name}\""))));
    ensure!(names.len() == 19, "{names:?}");
    for document in ["README.md", "docs/operations.md"] {
        let text = fs::read_to_string(repository(document))?;
        let words: BTreeSet<_> = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
        let missing: Vec<_> = names.difference(&words).collect();
        ensure!(missing.is_empty(), "{document} does not say what {missing:?} are");
    }
    Ok(())
}

// ================================================================================================== docs/contract.md

#[test]
fn the_contracts_examples_come_out_as_they_stand_there() -> Result<()> {
    let examples = blocks(&repository("docs/contract.md"))?;
    ensure!(examples.len() > 30, "only {} examples", examples.len());
    examples.iter().try_for_each(check)
}

/// Runs an example: the options, if it has any; what goes in; and behind arrows what comes out.
fn check(example: &Block) -> Result<()> {
    let lines: Vec<_> = example.text.lines().collect();
    let options = lines.first().filter(|line| line.starts_with("--"));
    let input = lines.iter().skip(usize::from(options.is_some())).take_while(|line| !line.starts_with('→'));
    let input: String = input.flat_map(|line| [line, "\n"]).collect();
    let expected: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("→ ")).collect();
    let place = format!("the example in line {} of docs/contract.md", example.line);
    ensure!(!input.is_empty() && !expected.is_empty(), "{place} lacks what goes in, or what comes out");

    let start = now()?;
    let mut child = Command::new(env!("CARGO_BIN_EXE_telegraf-algorithmia"))
        .args(options.into_iter().flat_map(|options| options.split(' ')))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    child.stdin.take().context("stdin is a pipe")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let end = now()?;

    let output = String::from_utf8(output.stdout)?;
    let given: Vec<_> = output.lines().collect();
    ensure!(given.len() == expected.len(), "{place} gives {} lines:\n{output}", given.len());
    for (line, expected) in given.iter().zip(expected) {
        let same = match expected.strip_suffix("NOW").and_then(|start| line.strip_prefix(start)) {
            Some(time) => (start..=end).contains(&time.parse()?),
            None => *line == expected,
        };
        ensure!(same, "{place}\nexpected {expected}\n     got {line}");
    }
    Ok(())
}

/// Nanoseconds since 1970.
fn now() -> Result<u128> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())
}

#[test]
fn the_contract_has_every_reason() -> Result<()> {
    let contract = fs::read_to_string(repository("docs/contract.md"))?;
    for reason in telegraf_algorithmia::Reason::ALL {
        ensure!(contract.contains(&format!("**`{reason}`**")), "docs/contract.md does not say what {reason} is");
        let example = format!("→ algorithmia_rejected,reason={reason}");
        ensure!(contract.contains(&example), "docs/contract.md has no example of {reason}");
    }
    Ok(())
}

// ================================================================================================ docs/operations.md

/// The tables of docs/operations.md whose first column are log lines are below these headings.
#[test]
fn log_lines_to_look_up_are_ours_or_telegrafs() -> Result<()> {
    let operations = fs::read_to_string(repository("docs/operations.md"))?;
    let ours = first_column(&operations, "What telegraf-algorithmia logs")?;
    ensure!(ours.len() > 10, "only {} lines of ours", ours.len());
    let mut source = String::new();
    for file in files("src", "rs")? {
        // A text over several lines, with its ends escaped, is one.
        let text = fs::read_to_string(file)?.replace("\\\"", "\"");
        source += &text.split("\\\n").map(str::trim_start).collect::<String>();
    }
    for text in ours {
        // In the place of what is inserted, the document has an ellipsis.
        for part in text.split('…').map(str::trim).filter(|part| !part.is_empty()) {
            ensure!(source.contains(part), "docs/operations.md explains {part:?}, which src/ does not log");
        }
    }
    Ok(())
}

/// The code spans in the first column of the table below a heading.
fn first_column(markdown: &str, wanted: &str) -> Result<Vec<String>> {
    let (mut below, mut heading, mut column, mut cells) = (false, None, 0, Vec::new());
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => below = heading.take().is_some_and(|text| text == wanted),
            Event::Text(text) if heading.is_some() => heading.iter_mut().for_each(|all| all.push_str(&text)),
            Event::Start(Tag::TableRow) => column = 0,
            Event::End(TagEnd::TableCell) => column += 1,
            Event::Code(text) if below && column == 0 => cells.push(text.to_string()),
            _ => {}
        }
    }
    ensure!(!cells.is_empty(), "docs/operations.md has no table below {wanted:?}");
    Ok(cells)
}

#[test]
fn operations_has_every_variable_of_telegraf_conf() -> Result<()> {
    let configuration = fs::read_to_string(repository("telegraf/telegraf.conf"))?;
    let documents = ["docs/operations.md", "docs/security.md"].map(|path| fs::read_to_string(repository(path)));
    let documents = documents.into_iter().collect::<Result<String, _>>()?;
    let names: BTreeSet<_> = configuration
        .split("${")
        .skip(1)
        .map(|rest| {
            rest.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')).next().unwrap_or_default()
        })
        .collect();
    ensure!(names.len() > 10, "{names:?}");
    for name in names {
        ensure!(documents.contains(&format!("`{name}`")), "no document says what {name} is");
    }
    Ok(())
}

// ===================================================================================================== docs/drift.md

#[test]
fn false_alarms_are_as_many_as_it_says() -> Result<()> {
    let document = fs::read_to_string(repository("docs/drift.md"))?;
    let table = fixtures::false_alarms::table();
    ensure!(document.contains(&format!("|\n{table}\n")), "docs/drift.md does not have these lines together:\n{table}");
    Ok(())
}

#[test]
fn drift_has_the_options_and_numbers_of_its_template() -> Result<()> {
    let document = fs::read_to_string(repository("docs/drift.md"))?;
    let template = fs::read_to_string(repository("telegraf/influxdb-drift.yml"))?;
    // An option is a plain value at the top of a task.
    let options: BTreeSet<_> = template
        .lines()
        .filter_map(|line| line.strip_prefix("    ").filter(|line| !line.starts_with(' '))?.split_once(" = "))
        .filter(|(_, value)| value.starts_with(['"', '[']) || value.starts_with(|c: char| c.is_ascii_digit()))
        // Not what is only a name for some columns.
        .filter(|(_, value)| !value.starts_with("[\""))
        .collect();
    ensure!(options.len() == 6, "{options:?}");
    for (name, value) in options {
        let row = format!("| `{name}` | `{value}` |");
        ensure!(document.contains(&row), "docs/drift.md has no row of its options that begins {row}");
    }
    for (text, row) in [
        ("  every: 1h\n  offset: 10m\n", "| `every` | `1h` |"),
        ("  every: 1h\n  offset: 20m\n", "| `offset` | `10m`, `20m` |"),
        ("  every: 30m\n  offset: 15s\n", "| 30 | the checks"),
        ("limit(n: 512)", "up to 512 values of each version"),
        ("limit(n: 64)", "64 at most of all versions together"),
        ("r.rank >= 24.0 and int(v: r.rank) % 8 == 0", "the 24th and every 8th after it"),
        ("r.edges < 192.0", "From 192 edges on none are added"),
        ("few = r.edges < 24", "fewer than 24 edges"),
        ("+ 0.5) / (float(v: references) + 5.0)", "p = (r + 0.5) / (n_R + 5)"),
        ("date.sub(d: 90d, from: referenceStop)", "in the 90 days that end one gap ago"),
    ] {
        ensure!(
            template.contains(text),
            "telegraf/influxdb-drift.yml has no {text:?}: what does docs/drift.md say of it?"
        );
        ensure!(document.replace('\n', " ").contains(row), "docs/drift.md does not say {row:?}");
    }
    Ok(())
}

#[test]
fn drift_has_the_bounds_of_its_checks() -> Result<()> {
    let document = fs::read_to_string(repository("docs/drift.md"))?;
    let template = fs::read_to_string(repository("telegraf/influxdb-drift.yml"))?;
    let mut count = 0;
    for check in template.split("\n---\n").filter(|part| part.contains("\nkind: CheckThreshold\n")) {
        let after = |key: &str| {
            let values = check.lines().filter_map(move |line| line.trim_start_matches([' ', '-']).strip_prefix(key));
            values.map(str::to_owned).collect::<Vec<_>>()
        };
        let names = after("name: ");
        let name = names.iter().find(|name| name.ends_with(" Alert")).context("a check has no name")?;
        let row = document.lines().find(|line| line.starts_with(&format!("| {name} |")));
        let row = row.with_context(|| format!("docs/drift.md has no row for {name}"))?;
        let bounds = after("type: ").into_iter().zip(after("level: ").into_iter().zip(after("value: ")));
        let mut cells = vec!["", ""];
        let texts: Vec<_> = bounds
            .map(|(kind, (level, value))| {
                (usize::from(level == "CRIT"), format!("{} {value}", if kind == "greater" { "above" } else { "below" }))
            })
            .collect();
        texts.iter().for_each(|(column, text)| cells[*column] = text);
        let said: Vec<_> = row.trim_matches('|').split('|').map(str::trim).skip(2).collect();
        ensure!(said == cells, "docs/drift.md says {said:?} of {name}, whose bounds are {cells:?}");
        count += 1;
    }
    ensure!(count == 3, "{count} checks");
    Ok(())
}

#[test]
fn drift_has_every_field_of_its_template() -> Result<()> {
    let document = fs::read_to_string(repository("docs/drift.md"))?;
    let template = fs::read_to_string(repository("telegraf/influxdb-drift.yml"))?;
    // `fieldFn: (r) => ({count: r.count, total: r.total})`, over one line or several.
    let mut fields = BTreeSet::new();
    for function in template.split("fieldFn: (r) => ({").skip(1) {
        let (function, _) = function.split_once("})").context("a fieldFn has no end")?;
        fields.extend(function.split([',', '\n']).filter_map(|field| Some(field.trim().split_once(": ")?.0)));
    }
    fields.extend(template.split("summary(name: \"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0)));
    ensure!(fields.len() > 15, "{fields:?}");
    for field in fields {
        ensure!(document.contains(&format!("`{field}`")), "docs/drift.md does not say what {field} is");
    }
    Ok(())
}

// =================================================================================================== CONTRIBUTING.md

#[test]
fn every_file_is_on_the_map() -> Result<()> {
    let map = fs::read_to_string(repository("CONTRIBUTING.md"))?;
    let root = repository("");
    for file in [files("src", "rs")?, files("tests", "rs")?, files("benches", "rs")?].concat() {
        let path = file.strip_prefix(&root)?.display().to_string();
        // Of the tests' and benchmarks' helpers the folder is enough.
        let folder = path.split('/').take(2).collect::<Vec<_>>().join("/");
        let on_it =
            map.contains(&format!("`{path}`")) || !path.starts_with("src") && map.contains(&format!("`{folder}`"));
        ensure!(on_it, "CONTRIBUTING.md does not say what {path} is");
    }
    for code in map.split('`').skip(1).step_by(2).filter(|code| code.ends_with(".rs") && code.contains('/')) {
        ensure!(repository(code).exists(), "CONTRIBUTING.md tells of {code}, which is not there");
    }
    Ok(())
}

/// CONTRIBUTING.md lists the library's folders in the order in which they use each other: none uses one that is before it.
#[test]
fn no_folder_of_the_library_uses_one_that_uses_it() -> Result<()> {
    const ORDER: [&str; 7] = ["convert", "payload", "observe", "json", "settings", "line_protocol", "buffers"];
    for (place, folder) in ORDER.iter().enumerate() {
        let mut files = files(&format!("src/{folder}"), "rs").unwrap_or_default();
        files.push(repository(&format!("src/{folder}.rs")));
        for file in files.iter().filter(|file| file.exists()) {
            let text = fs::read_to_string(file)?;
            for used in text.split("crate::").skip(1) {
                let used = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                let wrong = ORDER[..place].contains(&used);
                ensure!(!wrong, "{} uses {used}, which uses {folder}", file.display());
            }
        }
    }
    let map = fs::read_to_string(repository("CONTRIBUTING.md"))?;
    let places = ORDER.map(|folder| map.find(&format!("| `src/{folder}")).unwrap_or(usize::MAX));
    ensure!(places.is_sorted(), "CONTRIBUTING.md does not list them in this order: {ORDER:?}");
    Ok(())
}

/// All files in a folder and those in it, but for what is built there.
fn files(folder: &str, extension: &str) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![repository(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

// ============================================================================================================= Links

#[test]
fn links_lead_somewhere() -> Result<()> {
    let mut documents = files("docs", "md")?;
    documents.extend(["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(repository));
    for document in documents {
        let markdown = fs::read_to_string(&document)?;
        for event in Parser::new_ext(&markdown, Options::ENABLE_TABLES) {
            let (Event::Start(Tag::Link { dest_url, .. }) | Event::Start(Tag::Image { dest_url, .. })) = event else {
                continue;
            };
            if dest_url.contains("://") {
                continue;
            }
            let (path, anchor) = dest_url.split_once('#').unwrap_or((&dest_url, ""));
            let folder = document.parent().context("a document is in a folder")?;
            let target = if path.is_empty() { document.clone() } else { folder.join(path) };
            ensure!(target.exists(), "{}: {dest_url} is not there", document.display());
            if !anchor.is_empty() {
                let anchors = anchors(&fs::read_to_string(&target)?);
                ensure!(anchors.contains(anchor), "{}: {dest_url} is no heading there", document.display());
            }
        }
    }
    Ok(())
}

/// What headings can be linked to, as GitHub makes it of them.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let (mut heading, mut anchors) = (None, BTreeSet::new());
    for event in Parser::new(markdown) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => anchors.extend(heading.take()),
            Event::Text(text) | Event::Code(text) => heading.iter_mut().for_each(|all| {
                let kept = text.to_lowercase().replace(' ', "-");
                all.extend(kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)));
            }),
            _ => {}
        }
    }
    anchors
}

// ========================================================================================================== Glossary

/// Words that the documents do not use any more, and what they say in their place.
const GLOSSARY: [(&str, &str); 37] = [
    ("anew", "again"),
    ("as it stands", "unchanged"),
    ("at a glance", "on the fast path"),
    ("be the model", "send messages"),
    ("beside it stand", "next to it are"),
    ("beside them stand", "next to them are"),
    ("costs itself alone", "affects no other"),
    ("for ever", "forever"),
    ("go off", "are raised"),
    ("goes off", "is raised"),
    ("hand over", "pass"),
    ("handed over", "passed"),
    ("hands over", "passes"),
    ("hiccups", "noise"),
    ("home", "place"),
    ("hurts", "affects"),
    ("in the place of", "in place of"),
    ("in vain", "without effect"),
    ("is no good", "is invalid"),
    ("is there twice", "is stored twice"),
    ("made up for", "computed later"),
    ("make good for", "prevent"),
    ("no good", "invalid"),
    ("put out", "write"),
    ("puts out", "writes"),
    ("road", "path"),
    ("roads", "paths"),
    ("say what is so", "are tested"),
    ("stand there", "are in"),
    ("stands there", "is in"),
    ("the like", "others"),
    ("to speak of", "significant"),
    ("what is under way", "messages in flight"),
    ("where all is", "connection settings"),
    ("who has the", "if you have the"),
    ("whoever", "anyone who"),
    ("wrest", "use"),
];

#[test]
fn the_documents_use_the_words_of_the_glossary() -> Result<()> {
    let mut documents = files("docs", "md")?;
    documents.extend(["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(repository));
    let mut found = Vec::new();
    for document in documents {
        let text = prose(&fs::read_to_string(&document)?);
        let name = document.strip_prefix(repository(""))?.display();
        found.extend(old_words(&text).map(|(line, old, new)| format!("{name}:{line}: {old:?}: say {new:?}")));
    }
    ensure!(found.is_empty(), "words that are not used any more:\n{}", found.join("\n"));
    Ok(())
}

/// The text in lower case, with blanks in place of line breaks and of code, which may quote anything; line breaks in code stay.
fn prose(markdown: &str) -> String {
    let mut text = markdown.to_ascii_lowercase().into_bytes();
    for (event, range) in Parser::new_ext(markdown, Options::ENABLE_TABLES).into_offset_iter() {
        if matches!(event, Event::Code(_) | Event::Start(Tag::CodeBlock(_))) {
            text[range].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Each word of the glossary in a text, with its line and what to say. A line break may be within it.
fn old_words(text: &str) -> impl Iterator<Item = (usize, &'static str, &'static str)> {
    let joined = text.replace('\n', " ");
    GLOSSARY.into_iter().flat_map(move |(old, new)| {
        let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let places = joined.match_indices(old).filter(|(start, _)| {
            !is_letter(joined[..*start].chars().next_back()) && !is_letter(joined[start + old.len()..].chars().next())
        });
        let lines = places.map(|(start, _)| 1 + text[..start].matches('\n').count());
        lines.map(|line| (line, old, new)).collect::<Vec<_>>()
    })
}

#[test]
fn the_glossary_finds_whole_words_over_line_breaks_and_not_in_code() {
    let text = prose("Homes of `home`\n\n```sh\nhome\n```\n\nAt\nHome, no\ngood.\n");
    assert_eq!(old_words(&text).collect::<Vec<_>>(), [(8, "home", "place"), (8, "no good", "invalid")]);
}
