//! A list as commands show it: one table, or one complete JSON array.

use countersign_api::admin::Page;
use serde::{Serialize, de::DeserializeOwned};

use super::{CliError, Client, Output, client::Query};

/// Shows all items of a list route, up to `limit`. JSON is written as it arrives: a million rows fit in no table but
/// pass through here.
pub(crate) fn show<T: DeserializeOwned + Serialize>(
    client: &Client,
    path: &str,
    query: &Query,
    limit: Option<usize>,
    out: &Output,
    (headers, row): (&[&str], impl Fn(&T) -> Vec<String>),
) -> Result<(), CliError> {
    if out.is_json() {
        let mut array = out.json_array();
        client.each(path, query, limit, |item: T| {
            array.push(&item);
            Ok(())
        })?;
        array.finish();
        return Ok(());
    }
    let mut rows = Vec::new();
    let whole = client.each(path, query, limit, |item: T| {
        rows.push(row(&item));
        Ok(())
    });
    // What came before something went wrong is shown, as it is in JSON.
    if whole.is_ok() || !rows.is_empty() {
        out.table(headers, rows);
    }
    whole
}

/// Shows the items of a list route that are `wanted`, up to `limit` of them.
pub(crate) fn show_some<T: DeserializeOwned + Serialize>(
    client: &Client,
    path: &str,
    query: &Query,
    (limit, wanted): (Option<usize>, impl Fn(&T) -> bool),
    out: &Output,
    (headers, row): (&[&str], impl Fn(&T) -> Vec<String>),
) -> Result<(), CliError> {
    let limit = limit.unwrap_or(usize::MAX);
    let mut found = Vec::new();
    client.each(path, query, None, |item: T| {
        if found.len() < limit && wanted(&item) {
            found.push(item);
        }
        Ok(())
    })?;
    if out.is_json() {
        out.json(&found);
    } else {
        out.table(headers, found.iter().map(row).collect());
    }
    Ok(())
}

/// The one item a list route gives for `name=value`.
pub(crate) fn one<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    (name, value): (&'static str, &str),
    what: &str,
) -> Result<T, CliError> {
    let page: Page<T> = client.query(path, &Query::default().with(name, Some(value)))?;
    page.items.into_iter().next().ok_or_else(|| CliError::refused(format_args!("there is no {what} {value}")))
}
