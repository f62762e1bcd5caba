//! The walls of the house (DESIGN §2, "Who may know whom"), held against the Cargo graph and the sources.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests: a panic says which wall is broken"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

const CRATES: [&str; 8] = ["identity", "policy", "issuance", "store", "api", "verifier", "agent", "testkit"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The packages a program or library is built of, by name; what only tests and build scripts need is left out.
struct Graph {
    metadata: Metadata,
    uses: BTreeMap<PackageId, Vec<PackageId>>,
}

impl Graph {
    fn read() -> Self {
        let locked = ["--locked", "--offline"].map(str::to_owned).to_vec();
        let metadata = MetadataCommand::new().current_dir(root()).other_options(locked).exec().unwrap();
        let nodes = &metadata.resolve.as_ref().unwrap().nodes;
        let normal = |node: &cargo_metadata::Node| {
            let built_in = node
                .deps
                .iter()
                .filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal));
            built_in.map(|dep| dep.pkg.clone()).collect()
        };
        let uses = nodes.iter().map(|node| (node.id.clone(), normal(node))).collect();
        Self { metadata, uses }
    }

    fn name(&self, id: &PackageId) -> &str {
        self.metadata[id].name.as_str()
    }

    /// Everything that ends up in a package of ours, each with the way that leads to it.
    fn reach(&self, package: &str) -> BTreeMap<&str, String> {
        let start = self.metadata.workspace_packages().into_iter().find(|one| one.name == package).unwrap();
        let mut found = BTreeMap::new();
        let mut ahead = vec![(&start.id, package.to_owned())];
        while let Some((id, way)) = ahead.pop() {
            for next in &self.uses[id] {
                let way = format!("{way} → {}", self.name(next));
                if found.insert(self.name(next), way.clone()).is_none() {
                    ahead.push((next, way));
                }
            }
        }
        found
    }

    /// The packages of ours that name this one as a dependency, tests excepted.
    fn direct_users(&self, package: &str) -> BTreeSet<&str> {
        let ours = self.metadata.workspace_packages().into_iter();
        let users = ours.filter(|one| {
            one.dependencies.iter().any(|dep| dep.name == package && dep.kind != DependencyKind::Development)
        });
        users.map(|one| one.name.as_str()).collect()
    }
}

#[test]
fn nothing_reaches_through_a_wall_in_the_cargo_graph() {
    const WORLD: [&str; 10] =
        ["tokio", "hyper", "axum", "rustls", "tokio-rustls", "webpki", "fjall", "sled", "clap", "rand"];
    let house = ["countersign-issuance", "countersign-store", "countersign"];
    let graph = Graph::read();
    let walls: [(&str, &[&str]); 7] = [
        ("countersign-identity", &WORLD),
        ("countersign-policy", &WORLD),
        ("countersign-issuance", &WORLD),
        ("countersign-verifier", &house),
        ("countersign-agent", &house),
        (
            "countersign-api",
            &["tokio", "hyper", "axum", "rustls", "countersign-issuance", "countersign-store"],
        ),
        (
            "countersign-store",
            &["hyper", "axum", "rustls", "clap", "countersign-api", "countersign-verifier"],
        ),
    ];
    for (package, never) in walls {
        let reach = graph.reach(package);
        for wall in never {
            assert!(!reach.contains_key(wall), "{package} must never know {wall}: {}", reach[wall]);
        }
    }
}

#[test]
fn crates_of_one_room_are_in_no_other() {
    let graph = Graph::read();
    let only = |package: &str, users: &[&str]| {
        let found = graph.direct_users(package);
        let allowed: BTreeSet<&str> = users.iter().copied().collect();
        assert!(found.is_subset(&allowed), "{package} belongs to {allowed:?} alone, found in {found:?}");
    };
    only("fjall", &["countersign-store"]);
    only("sled", &["countersign-store"]);
    only("axum", &["countersign", "countersign-verifier"]);
    only("webpki", &["countersign-verifier"]);
    only("rustls-webpki", &["countersign-verifier"]);
    // Forged certificates are for tests.
    only("countersign-testkit", &[]);
    let verifier =
        graph.metadata.workspace_packages().into_iter().find(|one| one.name == "countersign-verifier");
    let axum = verifier.unwrap().dependencies.iter().find(|dep| dep.name == "axum");
    assert!(axum.is_none_or(|dep| dep.optional), "axum is a feature of the verifier");
}

/// A room of the tree and what its files must not name.
struct Wall {
    room: &'static str,
    never: &'static [&'static str],
    rule: &'static str,
}

const WALLS: [Wall; 10] = [
    Wall {
        room: "src/service",
        never: &["crate::http", "crate::cli", "axum", "clap", "hyper"],
        rule: "use cases know neither HTTP nor the command line",
    },
    Wall {
        room: "src/config",
        never: &["crate::service", "crate::http", "crate::cli", "axum", "clap"],
        rule: "a configuration knows nobody who uses it",
    },
    Wall {
        room: "src/signer",
        never: &["crate::service", "crate::http", "crate::cli", "axum", "clap", "countersign_store"],
        rule: "a pen knows neither the book nor who asks it",
    },
    Wall { room: "src/http", never: &["crate::cli", "clap"], rule: "the front desk knows no command line" },
    Wall { room: "crates/identity/src", never: PURE, rule: "values are pure" },
    Wall { room: "crates/identity/src", never: &["serde"], rule: "values know no format but their own" },
    Wall { room: "crates/policy/src", never: PURE, rule: "a decision depends on its inputs alone" },
    Wall {
        room: "crates/issuance/src",
        never: PURE,
        rule: "the corridor reaches outside through Ledger and Signer alone",
    },
    Wall {
        room: "crates/verifier/src",
        never: &["std::env", "countersign_issuance", "countersign_store", "countersign_api"],
        rule: "a verifier knows neither the CA nor its wire",
    },
    Wall {
        room: "crates/agent/src",
        never: &["countersign_issuance", "countersign_store", "axum"],
        rule: "a machine knows of the CA what is on the wire",
    },
];

const PURE: &[&str] = &[
    "std::fs",
    "std::env",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::process",
    "std::time::SystemTime::now",
    "std::time::Instant",
    "std::thread",
    "tokio",
    "hyper",
    "axum",
    "rustls",
    "rand",
];

#[test]
fn no_room_names_what_is_behind_a_wall() {
    let mut broken = Vec::new();
    for wall in &WALLS {
        for file in sources(&root().join(wall.room)) {
            let text = fs::read_to_string(&file).unwrap();
            let named = named_paths(without_tests(&text));
            for never in wall.never {
                let found =
                    named.iter().find(|path| *path == never || path.starts_with(&format!("{never}::")));
                if let Some(found) = found {
                    broken.push(format!("{}: {} (never {never}): {}", file.display(), found, wall.rule));
                }
            }
        }
    }
    assert!(broken.is_empty(), "broken walls:\n{}", broken.join("\n"));
}

/// The part of a file before its unit tests.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]").next().unwrap_or_default()
}

/// Every path of a file that begins at a crate: its `use` lines spread out, and what its code names in full.
fn named_paths(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .fold(String::new(), |all, line| all + line + "\n");
    let mut paths = BTreeSet::new();
    for statement in code.split(';') {
        let use_at = statement.rfind("use ").filter(|at| is_word_start(statement, *at));
        let (code, tree) = use_at.map_or((statement, ""), |at| (&statement[..at], &statement[at + 4..]));
        spread("", &tree.split_whitespace().collect::<Vec<_>>().join(" "), &mut paths);
        let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
        paths.extend(words.filter(|word| word.contains("::")).map(|word| word.trim_matches(':').to_owned()));
    }
    paths
}

fn is_word_start(text: &str, at: usize) -> bool {
    text[..at].chars().next_back().is_none_or(|c| c.is_whitespace() || c == '{' || c == '}')
}

/// `a::{b, c::{d, e}}` becomes `a::b`, `a::c::d`, `a::c::e`.
fn spread(before: &str, tree: &str, paths: &mut BTreeSet<String>) {
    let tree = tree.trim().trim_start_matches("::");
    let Some(open) = tree.find('{') else {
        let name = tree.split(" as ").next().unwrap_or_default().trim();
        if !name.is_empty() {
            paths.insert(format!("{before}{name}").trim_end_matches("::self").to_owned());
        }
        return;
    };
    let before = format!("{before}{}", &tree[..open]);
    let inside = tree[open + 1..].rsplit_once('}').map_or(&tree[open + 1..], |(inside, _)| inside);
    let (mut depth, mut start) = (0_usize, 0);
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                spread(&before, &inside[start..at], paths);
                start = at + 1;
            }
            _ => {}
        }
    }
    spread(&before, &inside[start..], paths);
}

#[test]
fn a_grouped_use_is_read_like_single_ones() {
    let text =
        "use crate::{cli::{self, Output}, config::Config as C}; // axum::x\nfn f() { hyper::body(); }\n";
    let found: Vec<String> = named_paths(text).into_iter().collect();
    assert_eq!(found, ["crate::cli", "crate::cli::Output", "crate::config::Config", "hyper::body"]);
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        // Unit tests that outgrew their file.
        .filter(|path| !path.ends_with("tests.rs"))
        .collect();
    found.sort();
    found
}

/// The sources of every program and library.
fn all_sources() -> Vec<PathBuf> {
    let crates = CRATES.map(|name| root().join("crates").join(name).join("src"));
    let rooms = [root().join("src"), root().join("benches/src")];
    rooms.iter().chain(&crates).flat_map(|room| sources(room)).collect()
}

#[test]
fn every_crate_of_the_workspace_is_looked_at_here() {
    let found: BTreeSet<String> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(found, CRATES.map(str::to_owned).into());
}

/// A room that outgrows this holds two nouns.
#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let mut lengths: Vec<(usize, PathBuf)> = all_sources()
        .into_iter()
        .map(|file| (without_tests(&fs::read_to_string(&file).unwrap()).lines().count(), file))
        .collect();
    lengths.sort();
    let (longest, file) = lengths.last().unwrap();
    assert!(*longest <= 600, "{} has {longest} lines, none may have more than 600", file.display());
    let (p95, file) = &lengths[lengths.len() * 95 / 100];
    assert!(*p95 <= 400, "19 of 20 files have at most 400 lines; {} has {p95}", file.display());
}

#[test]
fn every_file_says_first_what_it_owns() {
    for file in all_sources() {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{} does not begin with what it owns", file.display());
    }
}

#[test]
fn every_module_has_a_noun() {
    for file in all_sources() {
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        let nameless = ["util", "utils", "helper", "helpers", "common", "manager", "types", "misc"];
        assert!(!nameless.contains(&stem.as_str()), "{} is missing a noun", file.display());
    }
}
