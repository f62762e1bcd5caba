//! The policy file as written: what serde reads, before anything is judged.

use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;
use toml::value::Datetime;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyFile {
    pub(crate) version: Spanned<i64>,
    #[serde(default)]
    pub(crate) service: BTreeMap<Spanned<String>, ServiceFile>,
    #[serde(default)]
    pub(crate) grant: Vec<Spanned<RuleFile>>,
    #[serde(default)]
    pub(crate) deny: Vec<Spanned<RuleFile>>,
    #[serde(default)]
    pub(crate) test: Vec<Spanned<TestFile>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceFile {
    pub(crate) permissions: Spanned<Vec<Spanned<String>>>,
    pub(crate) identities: Option<Spanned<Vec<Spanned<String>>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleFile {
    pub(crate) id: Spanned<String>,
    pub(crate) permissions: Spanned<Vec<Spanned<String>>>,
    pub(crate) from: Option<Spanned<Datetime>>,
    pub(crate) until: Option<Spanned<Datetime>>,
    pub(crate) owner: Option<String>,
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestFile {
    pub(crate) id: Spanned<String>,
    #[serde(default)]
    pub(crate) may: Vec<Spanned<String>>,
    #[serde(default)]
    pub(crate) may_not: Vec<Spanned<String>>,
}
