//! The path of a binding: literals and fields between slashes, and a suffix after a colon.

use std::fmt::{self, Display, Formatter};

/// What stands between two slashes of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// This text.
    Literal(String),
    /// The value of this field of the request: `customer.id`.
    Field(String),
}

/// The path of a binding: `/api/v1/customers/{id}:undelete`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) segments: Vec<Segment>,
    /// What comes after the colon at its end: `undelete`.
    pub(crate) suffix: Option<String>,
}

impl Template {
    /// Reads a path.
    ///
    /// # Errors
    ///
    /// If it is empty, relative, names a field twice, or has a pattern that is not supported: `*`, `**` or
    /// `{name=pattern}`.
    pub(crate) fn parse(path: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("the path {path:?} {what}");
        let rest = path.strip_prefix('/').ok_or_else(|| wrong("does not begin with a slash"))?;
        // A field has no colon in it.
        let (rest, suffix) = match rest.rsplit_once(':') {
            Some((rest, suffix)) => (rest, Some(suffix)),
            None => (rest, None),
        };
        if suffix.is_some_and(|suffix| !is_literal(suffix)) {
            return Err(wrong("has a suffix with characters other than letters, digits, - and _"));
        }
        let segments: Option<Vec<Segment>> = rest.split('/').map(segment).collect();
        let segments = segments.ok_or_else(|| {
            wrong("has a part that is neither a literal (letters, digits, - and _) nor a {field.path}")
        })?;
        let template = Self { segments, suffix: suffix.map(str::to_owned) };
        let fields: Vec<_> = template.fields().collect();
        match fields.iter().enumerate().find(|(at, field)| fields[..*at].contains(field)) {
            Some((_, field)) => Err(wrong(&format!("has the field {field} twice"))),
            None => Ok(template),
        }
    }

    /// Returns the paths of its fields.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Field(field) => Some(field.as_str()),
            Segment::Literal(_) => None,
        })
    }

    /// Whether both have the same literals at the same places, and fields everywhere else.
    pub(crate) fn has_shape_of(&self, other: &Self) -> bool {
        let same = |(mine, theirs): (&Segment, &Segment)| match (mine, theirs) {
            (Segment::Literal(mine), Segment::Literal(theirs)) => mine == theirs,
            (Segment::Field(_), Segment::Field(_)) => true,
            _ => false,
        };
        self.suffix == other.suffix
            && self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(same)
    }

    /// Returns where it has fields, by which a literal comes before a field at the first place where two paths differ.
    pub(crate) fn rank(&self) -> Vec<bool> {
        self.segments.iter().map(|segment| matches!(segment, Segment::Field(_))).collect()
    }
}

impl Display for Template {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Field(path) => write!(f, "/{{{path}}}")?,
            }
        }
        self.suffix.as_ref().map_or(Ok(()), |suffix| write!(f, ":{suffix}"))
    }
}

fn segment(text: &str) -> Option<Segment> {
    match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        Some(path) => path.split('.').all(is_name).then(|| Segment::Field(path.to_owned())),
        None => is_literal(text).then(|| Segment::Literal(text.to_owned())),
    }
}

/// Whether a text is the same in every URL: it needs no percent, and no colon begins a suffix in it.
fn is_literal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
