//! What is written for people, held to what is there: dependencies, drop reasons, links, paths, unsafe modules.
//!
//! The documents are read as plain text, line by line; what is checked is what a reader would stumble over. Metrics,
//! information elements and configuration keys have such tests beside their code.

use penstock::dpif::DropReason;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The manifests whose direct dependencies must be explained.
const MANIFESTS: [&str; 5] = [
    "Cargo.toml",
    "pmd/Cargo.toml",
    "dpdk-shim/Cargo.toml",
    "tests/fuzz/Cargo.toml",
    "tests/decoders/Cargo.toml",
];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names of the crates that a manifest depends on, our own (by path) left out.
///
/// Reads what these manifests are written in: tables whose name ends in `dependencies`, one crate a line, or a
/// table of its own for a crate.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut is_dependencies = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_dependencies = table.ends_with("dependencies");
            if let Some((parent, name)) = table.rsplit_once('.')
                && parent.ends_with("dependencies")
            {
                names.insert(name.to_owned());
            }
        } else if is_dependencies
            && !line.starts_with('#')
            && let Some((name, value)) = line.split_once('=')
            && !value.contains("path =")
        {
            names.insert(name.trim().trim_end_matches(".workspace").trim_matches('"').to_owned());
        }
    }
    names
}

/// The crates that `docs/dependencies.md` explains, in its order, with what it says of them.
fn explained(text: &str) -> Vec<(String, String)> {
    let items = text.split("\n- `").skip(1);
    let items = items.map(|item| {
        let (name, rest) = item.split_once('`').expect("the name of a crate ends with a backtick");
        let (_, why) = rest.split_once(':').unwrap_or_else(|| panic!("{name}: no colon before the reason"));
        (name.to_owned(), why.trim().to_owned())
    });
    items.collect()
}

/// Markdown files that people are sent to.
fn documents() -> Vec<PathBuf> {
    let docs = fs::read_dir(repository().join("docs")).expect("there is a folder of documents");
    let docs = docs.map(|entry| entry.expect("it can be read").path());
    let mut files: Vec<_> = docs.filter(|path| path.extension().is_some_and(|ext| ext == "md")).collect();
    files.push(repository().join("README.md"));
    files.sort();
    files
}

/// A heading's anchor, as GitHub makes it: lower case, blanks as hyphens, no punctuation.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
    kept.map(|char| if char == ' ' { '-' } else { char.to_ascii_lowercase() }).collect()
}

fn anchors(markdown: &str) -> BTreeSet<String> {
    let headings = without_code_blocks(markdown);
    let headings = headings
        .iter()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    headings.map(|heading| anchor(heading.trim())).collect()
}

/// The lines that are not between fences.
fn without_code_blocks(markdown: &str) -> Vec<&str> {
    let mut is_code = false;
    let mut lines = Vec::new();
    for line in markdown.lines() {
        if line.starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            lines.push(line);
        }
    }
    lines
}

/// Targets of the links in a text: `](target)`.
fn links(markdown: &str) -> Vec<String> {
    let text = without_code_blocks(markdown).join("\n");
    let targets = text.split("](").skip(1);
    targets.filter_map(|rest| rest.split_once(')').map(|(target, _)| target.to_owned())).collect()
}

/// What stands between backticks.
fn code_spans(markdown: &str) -> Vec<String> {
    let text = without_code_blocks(markdown).join("\n");
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Files under `folder` whose name ends in `.rs`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the sources can be read") {
        let path = entry.expect("the sources can be read").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn every_direct_dependency_has_its_reason_and_no_other_crate_has_one() {
    let wanted: BTreeSet<String> = MANIFESTS.iter().flat_map(|path| dependencies(&read(path))).collect();
    assert!(wanted.contains("bindgen") && wanted.contains("mio"), "the manifests were read: {wanted:?}");
    let explained = explained(&read("docs/dependencies.md"));
    let names: BTreeSet<String> = explained.iter().map(|(name, _)| name.clone()).collect();
    let missing: Vec<_> = wanted.difference(&names).collect();
    assert!(missing.is_empty(), "docs/dependencies.md says nothing of {missing:?}");
    let stale: Vec<_> = names.difference(&wanted).collect();
    assert!(stale.is_empty(), "docs/dependencies.md explains what nothing depends on: {stale:?}");
    let order: Vec<_> = explained.iter().map(|(name, _)| name).collect();
    assert!(order.is_sorted(), "docs/dependencies.md is sorted by name: {order:?}");
    assert_eq!(order.len(), names.len(), "docs/dependencies.md explains each crate once");
    for (name, why) in explained {
        assert!(
            why.len() > 20 && why.ends_with('.'),
            "docs/dependencies.md: {name}: a whole sentence, please"
        );
    }
}

#[test]
fn a_manifest_is_read_as_cargo_reads_it() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\n# why = \"not\"\nahash = \"0.8\"\nours = { path = \"a\" }\n\
                    nix.workspace = true\n[dependencies.mio]\nversion = \"1\"\n[target.'cfg(unix)'.dev-dependencies]\nlibc = \"0.2\"\n\
                    [lints]\nworkspace = true\n";
    let names: Vec<_> = dependencies(manifest).into_iter().collect();
    assert_eq!(names, ["ahash", "libc", "mio", "nix"]);
}

#[test]
fn every_drop_reason_has_a_section_and_no_other_has_one() {
    let text = read("docs/drops.md");
    let mut sections: Vec<(&str, &str)> = Vec::new();
    for section in text.split("\n### `").skip(1) {
        let (name, rest) = section.split_once('`').expect("the name of a reason ends with a backtick");
        let end = rest.find("\n## ").unwrap_or(rest.len());
        sections.push((name, &rest[..end]));
    }
    for reason in DropReason::ALL {
        let of_reason: Vec<_> = sections.iter().filter(|(name, _)| *name == reason.name()).collect();
        let [(_, section)] = of_reason[..] else {
            panic!("docs/drops.md has {} sections for `{}`", of_reason.len(), reason.name());
        };
        for part in ["**What happened.**", "**Cure.**"] {
            assert!(section.contains(part), "docs/drops.md: `{}` lacks {part}", reason.name());
        }
        let heading = section.lines().next().unwrap_or_default();
        let says_output = heading.contains("(output)");
        assert_eq!(
            says_output,
            reason.is_output(),
            "docs/drops.md: on which port `{}` counts",
            reason.name()
        );
    }
    assert_eq!(sections.len(), DropReason::COUNT, "docs/drops.md explains reasons that there are not");
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let mut faults = Vec::new();
    let mut count = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).expect("it can be read");
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (file, fragment) = link.split_once('#').map_or((link.as_str(), None), |(f, a)| (f, Some(a)));
            let folder = path.parent().expect("it is in a folder");
            let target = if file.is_empty() { path.clone() } else { folder.join(file) };
            if !target.exists() {
                faults.push(format!("{}: {link}: there is no such file", path.display()));
            } else if let Some(fragment) = fragment {
                let there = fs::read_to_string(&target).expect("it can be read");
                if !anchors(&there).contains(fragment) {
                    faults.push(format!("{}: {link}: there is no such heading", path.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count > 10, "links were found: {count}");
}

#[test]
fn every_path_that_the_documents_name_is_there() {
    const FOLDERS: [&str; 6] = ["src/", "pmd/", "dpdk-shim/", "conf/", "docs/", "tests/"];
    let mut texts: Vec<(PathBuf, String)> = Vec::new();
    for path in documents() {
        let text = fs::read_to_string(&path).expect("it can be read");
        texts.push((path, text));
    }
    let crate_text = read("src/lib.rs");
    let essay: Vec<_> =
        crate_text.lines().filter_map(|line| line.strip_prefix("//!")).map(str::trim_start).collect();
    texts.push((repository().join("src/lib.rs"), essay.join("\n")));
    let mut faults = Vec::new();
    for (path, text) in texts {
        for span in code_spans(&text) {
            let is_path = FOLDERS.iter().any(|folder| span.starts_with(folder));
            if is_path && !span.contains([' ', '*']) && !repository().join(&span).exists() {
                faults.push(format!("{}: `{span}`: there is no such file", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_modules_that_may_be_unsafe_are_those_that_the_crate_lists() {
    let text = read("src/lib.rs");
    let (_, list) = text.split_once("//! # Unsafe code").expect("src/lib.rs has a list of unsafe modules");
    let list = list.split("//! # ").next().unwrap_or_default();
    let listed: BTreeSet<String> = list
        .lines()
        .filter_map(|line| line.strip_prefix("//! - `")?.split_once('`').map(|(path, _)| path.to_owned()))
        .collect();
    // In two pieces, so that this file would not be found, were it among those read.
    let allowances = [concat!("allow(unsafe", "_code"), concat!("expect(unsafe", "_code")];
    let allowed: BTreeSet<String> = sources(&repository().join("src"))
        .into_iter()
        .filter(|path| {
            let source = fs::read_to_string(path).expect("the sources can be read");
            allowances.iter().any(|allowance| source.contains(allowance))
        })
        .map(|path| path.strip_prefix(repository()).expect("it is in the repository").display().to_string())
        .collect();
    assert_eq!(listed, allowed, "src/lib.rs lists the modules that may hold unsafe code");
    assert!(text.contains("#![deny(unsafe_code)]"), "all others may not");
}

#[test]
fn the_example_of_the_tour_is_what_the_readme_says() {
    let readme = read("README.md");
    let config = penstock::config::load(&repository().join("conf/examples/tour.yaml")).expect("it is valid");
    assert!(readme.contains(&format!("penstockctl --name {} show", config.switch.name)));
    let bridge = config.bridges.first().expect("it has a bridge");
    assert!(readme.contains(&format!("dump-flows {}", bridge.name)));
    for port in &bridge.ports {
        assert!(readme.contains(&port.netdev.name), "the tour uses port {}", port.netdev.name);
    }
    let listen = config.metrics.listen.expect("the tour scrapes it");
    assert!(readme.contains(&format!("http://{listen}/metrics")));
}

/// The rows of the table under a heading, each by its cells; without those of the head.
fn table_rows<'a>(text: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let (_, section) = text.split_once(heading).unwrap_or_else(|| panic!("there is no {heading}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    rows.map(|row| row.split(" | ").map(|cell| cell.trim_matches('`')).collect()).collect()
}

#[test]
fn every_field_is_in_the_document_about_openflow_as_it_is_in_the_code() {
    let text = read("docs/openflow.md");
    let mark = |is_so: bool| if is_so { "yes".to_owned() } else { "-".to_owned() };
    let wanted: Vec<Vec<String>> = penstock::flow::fields::FIELDS
        .iter()
        .map(|info| {
            let oxm = info.oxm.map_or_else(|| "-".to_owned(), |number| number.to_string());
            let (other, masked, set) = (mark(info.nxm.is_some()), mark(info.maskable), mark(info.writable));
            vec![info.name.to_owned(), oxm, other, masked, set]
        })
        .collect();
    let rows = table_rows(&text, "\n## Fields\n");
    for (row, wanted) in rows.iter().zip(&wanted) {
        assert_eq!(row, wanted, "docs/openflow.md: a row of the fields");
    }
    assert_eq!(rows.len(), wanted.len(), "docs/openflow.md has every field");
}

#[test]
fn every_action_is_in_the_document_about_openflow() {
    let source = read("src/openflow/action.rs");
    let (_, rest) = source.split_once("pub enum Action {\n").expect("there are actions");
    let body = rest.split("\n}\n").next().unwrap_or_default();
    let variants = body.lines().filter_map(|line| line.strip_prefix("    "));
    let variants = variants.filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()));
    let names = variants.map(|line| line.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or(line));
    let names: Vec<_> = names.collect();
    assert!(names.contains(&"Output") && names.contains(&"GotoTable"), "they were read: {names:?}");
    let text = read("docs/openflow.md");
    let rows: Vec<_> = table_rows(&text, "\n## Actions\n").into_iter().map(|row| row[0]).collect();
    assert_eq!(rows, names, "docs/openflow.md: the actions, in their order");
}

/// The names of an enum's variants, in order.
fn variants<'a>(source: &'a str, name: &str) -> Vec<&'a str> {
    let (_, rest) = source.split_once(&format!("pub enum {name} {{\n")).expect("there is such an enum");
    let body = rest.split("\n}\n").next().unwrap_or_default();
    let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
    let lines = lines.filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()));
    lines.map(|line| line.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or(line)).collect()
}

#[test]
fn every_message_is_in_the_document_about_openflow() {
    let source = read("src/openflow/message.rs");
    let (messages, requests) = (variants(&source, "Message"), variants(&source, "MultipartRequest"));
    assert!(messages.contains(&"Hello") && requests.contains(&"Desc"), "they were read: {messages:?}");
    assert_eq!(requests, variants(&source, "MultipartReply"), "each request has its reply, in one order");
    let messages =
        messages.iter().filter(|name| !name.starts_with("Multipart")).map(|name| (*name).to_owned());
    let requests = requests.iter().map(|name| format!("MultipartRequest::{name}"));
    let text = read("docs/openflow.md");
    let rows: Vec<_> =
        table_rows(&text, "\n## Messages\n").into_iter().map(|row| row[0].to_owned()).collect();
    assert_eq!(
        rows,
        messages.chain(requests).collect::<Vec<_>>(),
        "docs/openflow.md: the messages, in order"
    );
}
