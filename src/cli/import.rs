//! `registrations import`: registrations from a file, in groups that each go in whole.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::Path,
};

use countersign_api::{
    ProblemCode,
    admin::{ImportRequest, ImportResponse, Registration},
    paths,
};

use super::{CaArgs, CliError, Client, Output, error::Kind};

/// Registrations in one request: about two megabytes, one durable step of the book.
const GROUP: usize = 10_000;
/// No honest registration is longer.
const LONGEST_LINE: u64 = 1 << 20;

pub(crate) fn run(ca: &CaArgs, file: &Path, dry_run: bool, out: &Output) -> Result<(), CliError> {
    let mut groups = Groups {
        client: ca.connect()?,
        dry_run,
        sum: ImportResponse::default(),
        group: Vec::new(),
        places: Vec::new(),
    };
    let result = read(open(file)?, |place, registration| groups.take(place, registration, out))
        .and_then(|()| groups.send(out));
    out.progress_done();
    let sum = &groups.sum;
    result.map_err(|error| match done(sum) {
        0 => error,
        count if dry_run => {
            error.after(format_args!("the first {count} registrations of the file would be taken"))
        }
        count => error.after(format_args!("the first {count} registrations of the file were taken")),
    })?;
    if out.is_json() {
        out.json(sum);
    } else {
        let act = if dry_run { "it would be" } else { "done" };
        out.line(format_args!(
            "{act}: {} created, {} changed, {} were so already",
            sum.created, sum.changed, sum.unchanged
        ));
    }
    Ok(())
}

struct Groups {
    client: Client,
    dry_run: bool,
    sum: ImportResponse,
    group: Vec<Registration>,
    /// Where in the file each of the group stands.
    places: Vec<Place>,
}

/// Where a registration stands in the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Line(u64),
    /// Counted from 1.
    Item(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(n) => write!(f, "line {n}"),
            Self::Item(n) => write!(f, "registration {n} of the array"),
        }
    }
}

impl Groups {
    fn take(&mut self, place: Place, registration: Registration, out: &Output) -> Result<(), CliError> {
        self.group.push(registration);
        self.places.push(place);
        if self.group.len() == GROUP { self.send(out) } else { Ok(()) }
    }

    fn send(&mut self, out: &Output) -> Result<(), CliError> {
        if self.group.is_empty() {
            return Ok(());
        }
        let places = std::mem::take(&mut self.places);
        let request = ImportRequest { registrations: std::mem::take(&mut self.group), dry_run: self.dry_run };
        let answer: ImportResponse = self
            .client
            .post(paths::ADMIN_REGISTRATIONS_IMPORT, &request)
            .map_err(|error| self.culprit(error, request.registrations, &places))?;
        self.sum.created += answer.created;
        self.sum.changed += answer.changed;
        self.sum.unchanged += answer.unchanged;
        out.progress(format_args!("{} registrations", done(&self.sum)));
        Ok(())
    }
}

impl Groups {
    /// Which registration of a refused group it is about: the last of the shortest beginning that is refused as well.
    fn culprit(&self, error: CliError, group: Vec<Registration>, places: &[Place]) -> CliError {
        if error.kind() != Kind::Refused || error.is(ProblemCode::BodyTooLarge) {
            return error;
        }
        let mut request = ImportRequest { registrations: group.clone(), dry_run: true };
        let (mut good, mut bad, mut why) = (0, group.len(), error);
        while bad - good > 1 {
            let middle = good.midpoint(bad);
            request.registrations = group.iter().take(middle).cloned().collect();
            match self.client.post::<ImportResponse>(paths::ADMIN_REGISTRATIONS_IMPORT, &request) {
                Ok(_) => good = middle,
                Err(error) if error.kind() == Kind::Refused => (bad, why) = (middle, error),
                Err(_) => return why,
            }
        }
        match (places.get(good), group.get(good)) {
            (Some(place), Some(one)) => why.at(format_args!("{place}, {}", one.spiffe_id)),
            _ => why,
        }
    }
}

const fn done(sum: &ImportResponse) -> u64 {
    sum.created + sum.changed + sum.unchanged
}

fn open(file: &Path) -> Result<Box<dyn BufRead>, CliError> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let opened = File::open(file)
        .map_err(|error| CliError::failed(format_args!("cannot read {}: {error}", file.display())))?;
    Ok(Box::new(BufReader::new(opened)))
}

/// Hands on every registration of a JSON array or of JSON Lines, and where it stands; an error names the line.
fn read(
    mut from: impl BufRead,
    mut each: impl FnMut(Place, Registration) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let unreadable = |error: io::Error| CliError::failed(format_args!("cannot read the file: {error}"));
    if from.fill_buf().map_err(unreadable)?.trim_ascii_start().first() == Some(&b'[') {
        let all: Vec<Registration> = serde_json::from_reader(from).map_err(|error| {
            CliError::refused(format_args!("the file is no JSON array of registrations: {error}"))
        })?;
        return (1..).zip(all).try_for_each(|(n, registration)| each(Place::Item(n), registration));
    }
    let mut line = String::new();
    for number in 1_u64.. {
        line.clear();
        if (&mut from).take(LONGEST_LINE).read_line(&mut line).map_err(unreadable)? == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let registration = serde_json::from_str(&line).map_err(|error| {
            CliError::refused(format_args!("line {number} is no registration: {error}"))
                .hint("`countersign registrations export` writes the expected form")
        })?;
        each(Place::Line(number), registration)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Result<Vec<String>, String> {
        let mut ids = Vec::new();
        let result = read(text.as_bytes(), |_, registration| {
            ids.push(registration.spiffe_id);
            Ok(())
        });
        result.map(|()| ids).map_err(|error| error.to_string())
    }

    #[test]
    fn an_array_and_lines_are_the_same() {
        let lines = "{\"spiffe_id\":\"spiffe://td/a\"}\n\n{\"spiffe_id\":\"spiffe://td/b\"}\n";
        let array = " [{\"spiffe_id\":\"spiffe://td/a\"}, {\"spiffe_id\":\"spiffe://td/b\"}]";
        assert_eq!(ids(lines).unwrap(), ["spiffe://td/a", "spiffe://td/b"]);
        assert_eq!(ids(array), ids(lines));
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let error = ids("{\"spiffe_id\":\"spiffe://td/a\"}\n{\"spiffe_id\":\"spiffe://td/b\",\"dn\":1}\n")
            .unwrap_err();
        assert!(error.starts_with("line 2 is no registration: unknown field `dn`"), "{error}");
    }
}
