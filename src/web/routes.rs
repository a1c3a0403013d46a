//! Which RPC a verb and a path of HTTP mean: the table that the build made of the bindings in the protos
//! (`google.api.http`), and how a path is found in it.

use percent_encoding::percent_decode_str;

/// The table that the build made from the protos. Of two routes that match one path, the right one is first.
mod generated {
    use super::{RequestBody, Route, Segment, Streaming, Verb};

    include!(concat!(env!("OUT_DIR"), "/routes.rs"));
}

/// A way to call an RPC by HTTP.
#[derive(Debug, PartialEq, Eq)]
pub struct Route {
    /// The verb.
    pub verb: Verb,
    /// What stands between the slashes of the path.
    pub path: &'static [Segment],
    /// What comes after the colon at the end of the path: `undelete` in `/api/v1/customers/{id}:undelete`.
    pub suffix: Option<&'static str>,
    /// The path of the RPC: `/crm.v1.CustomerService/GetCustomer`.
    pub rpc: &'static str,
    /// The full name of its request.
    pub input: &'static str,
    /// The full name of its response.
    pub output: &'static str,
    /// What of the request the body has.
    pub body: RequestBody,
    /// Whether its requests or responses are a stream.
    pub streaming: Streaming,
}

/// A verb of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Reads.
    Get,
    /// Changes what is sent, as PATCH does.
    Put,
    /// Creates, or does what the path says.
    Post,
    /// Deletes.
    Delete,
    /// Changes what is sent.
    Patch,
}

/// What stands between two slashes of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    /// This text.
    Literal(&'static str),
    /// The value of this field of the request: `customer.id`. In a stream of requests, of each of them.
    Field(&'static str),
}

/// What of a request the body of HTTP has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestBody {
    /// Nothing: what the path does not have is in the query.
    None,
    /// All that the path does not have.
    Whole,
    /// The message in this field. What neither it nor the path has is in the query.
    Field(&'static str),
}

/// Whether the requests or the responses of an RPC are a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streaming {
    /// One request, one response.
    Unary,
    /// One request, a stream of responses.
    Server,
    /// A stream of requests, one response.
    Client,
    /// Two streams.
    Bidi,
}

/// What a verb and a path mean.
#[derive(Debug, PartialEq, Eq)]
pub enum Match {
    /// This route.
    Found(Found),
    /// Nothing: no route has this path.
    NoPath,
    /// Nothing, but the path is there with these verbs, in their order.
    WrongVerb(Vec<Verb>),
    /// Nothing: the value of this field is not UTF-8.
    NotUtf8(&'static str),
}

/// A route that was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The route.
    pub route: &'static Route,
    /// The fields in the path with their values, in the order of the path. A value is never empty.
    pub fields: Vec<(&'static str, String)>,
}

impl Verb {
    /// All verbs, in their order.
    pub const ALL: [Self; 5] = [Self::Get, Self::Put, Self::Post, Self::Delete, Self::Patch];

    /// Returns the verb as HTTP writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
        }
    }

    /// Returns the verb with this name, which is in capitals; `None` for another verb.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.name() == name)
    }
}

/// Returns all routes.
pub fn all() -> &'static [Route] {
    generated::ROUTES
}

/// Finds what a verb and a path mean. The path is as HTTP has it: percent-encoded, without a query.
///
/// A literal wins over a field, from left to right. A path that ends with the suffix of a route means no route without
/// it. A colon that is percent-encoded begins no suffix.
pub fn find(verb: Verb, path: &str) -> Match {
    let Some(path) = Path::read(path) else { return Match::NoPath };
    let mut matches: Vec<_> = all().iter().filter(|route| path.is_of(route)).collect();
    if matches.iter().any(|route| route.suffix.is_some()) {
        matches.retain(|route| route.suffix.is_some());
    }
    match matches.iter().find(|route| route.verb == verb) {
        Some(route) => path.capture(route),
        None if matches.is_empty() => Match::NoPath,
        None => {
            let mut verbs: Vec<_> = matches.iter().map(|route| route.verb).collect();
            verbs.sort_unstable();
            verbs.dedup();
            Match::WrongVerb(verbs)
        }
    }
}

/// A path of HTTP, in parts.
struct Path<'p> {
    segments: Vec<&'p str>,
    /// The last segment without its suffix, and the suffix.
    suffix: Option<(&'p str, &'p str)>,
}

impl<'p> Path<'p> {
    /// Returns the parts of a path; `None` if it is not absolute, or longer than any route.
    fn read(path: &'p str) -> Option<Self> {
        let longest = all().iter().map(|route| route.path.len()).max().unwrap_or_default();
        let segments: Vec<_> = path.strip_prefix('/')?.split('/').take(longest + 1).collect();
        let suffix = segments.last().and_then(|last| last.rsplit_once(':'));
        (segments.len() <= longest).then_some(Self { segments, suffix })
    }

    fn is_of(&self, route: &Route) -> bool {
        self.segments.len() == route.path.len()
            && route.suffix.is_none_or(|suffix| self.suffix.is_some_and(|(_, mine)| mine == suffix))
            && route.path.iter().zip(self.values(route)).all(|(segment, value)| match segment {
                Segment::Literal(text) => *text == value,
                Segment::Field(_) => !value.is_empty(),
            })
    }

    /// Returns what stands between the slashes, without the suffix if the route has one.
    fn values(&self, route: &Route) -> impl Iterator<Item = &'p str> {
        let last = self.segments.len() - 1;
        let stem = self.suffix.filter(|_| route.suffix.is_some()).map(|(stem, _)| stem);
        let values = self.segments.iter().enumerate();
        values.map(move |(at, value)| stem.filter(|_| at == last).unwrap_or(value))
    }

    fn capture(&self, route: &'static Route) -> Match {
        let mut fields = Vec::new();
        for (segment, value) in route.path.iter().zip(self.values(route)) {
            let Segment::Field(field) = segment else { continue };
            match percent_decode_str(value).decode_utf8() {
                Ok(value) => fields.push((*field, value.into_owned())),
                Err(_) => return Match::NotUtf8(field),
            }
        }
        Match::Found(Found { route, fields })
    }
}

#[cfg(test)]
mod tests;
