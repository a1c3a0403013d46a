//! The HTTP bindings of RPCs: no URL belongs to two of them.

use std::collections::BTreeSet;

use crm_backend::pb::Customer;
use prost_reflect::{DynamicMessage, MethodDescriptor};

use crate::support::customers::named;
use crate::support::raw::{CONTRACT, rpcs};
use crate::support::{Crm, Refusal};

/// An HTTP binding of an RPC.
#[derive(Debug, Clone)]
struct Binding {
    rpc: String,
    verb: String,
    path: String,
    body: String,
}

/// A part of a path between two slashes; `None` for a variable.
type Segment = Option<String>;

impl Binding {
    /// Returns its segments, and the custom verb after the last one, e.g. `undelete`. No id and no slug contains a
    /// colon.
    fn parts(&self) -> (Vec<Segment>, Option<&str>) {
        let (path, custom) = match self.path.rsplit_once(':') {
            Some((path, custom)) => (path, Some(custom)),
            None => (self.path.as_str(), None),
        };
        let segment = |text: &str| (!text.starts_with('{')).then(|| text.to_owned());
        (path.trim_start_matches('/').split('/').map(segment).collect(), custom)
    }

    /// Whether a URL exists that both match.
    fn overlaps(&self, other: &Self) -> bool {
        let ((mine, my_verb), (theirs, their_verb)) = (self.parts(), other.parts());
        let may_be_same =
            |(mine, theirs): (&Segment, &Segment)| mine.is_none() || theirs.is_none() || mine == theirs;
        self.verb == other.verb
            && my_verb == their_verb
            && mine.len() == theirs.len()
            && mine.iter().zip(&theirs).all(may_be_same)
    }
}

/// Returns all bindings of an RPC, the main one first.
fn bindings(rpc: &MethodDescriptor) -> Vec<Binding> {
    let http = CONTRACT.get_extension_by_name("google.api.http").expect("the extension");
    let options = rpc.options();
    if !options.has_extension(&http) {
        return Vec::new();
    }
    let rule = options.get_extension(&http).as_message().expect("a rule").clone();
    let text = |rule: &DynamicMessage, field: &str| {
        rule.get_field_by_name(field).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let added = rule.get_field_by_name("additional_bindings").expect("a list").into_owned();
    let added =
        added.as_list().expect("a list").iter().map(|rule| rule.as_message().expect("a rule").clone());
    let rules: Vec<_> = [rule].into_iter().chain(added).collect();
    let binding = |rule: &DynamicMessage| {
        let verbs = ["get", "put", "post", "delete", "patch"];
        let verb = verbs.into_iter().find(|verb| !text(rule, verb).is_empty()).expect("a verb");
        let (path, body) = (text(rule, verb), text(rule, "body"));
        Binding { rpc: rpc.full_name().to_owned(), verb: verb.to_owned(), path, body }
    };
    rules.iter().map(binding).collect()
}

fn all() -> Vec<Binding> {
    let all: Vec<_> = rpcs().iter().flat_map(bindings).collect();
    assert!(all.len() > 60, "the contract has paths: {}", all.len());
    all
}

/// If two paths match the same URL, the first segment that is a literal in only one of them decides for the literal.
/// Two paths without such a segment cannot be told apart by a router.
#[test]
fn literal_segments_decide_between_all_paths_that_match_the_same_url() {
    let all = all();
    let mut undecided = Vec::new();
    for (index, one) in all.iter().enumerate() {
        for other in all.iter().skip(index + 1).filter(|other| one.overlaps(other)) {
            let ((mine, _), (theirs, _)) = (one.parts(), other.parts());
            if mine.iter().zip(&theirs).all(|(mine, theirs)| mine.is_some() == theirs.is_some()) {
                undecided.push(format!("{} and {}: {one:?} and {other:?}", one.rpc, other.rpc));
            }
        }
    }
    assert!(undecided.is_empty(), "{}", undecided.join("\n"));
}

#[test]
fn an_update_is_a_patch_and_a_put_beside() {
    for rpc in rpcs() {
        let bindings = bindings(&rpc);
        assert!(!bindings.is_empty(), "{}", rpc.name());
        if rpc.name().starts_with("Update") {
            let [patch, put] = bindings.as_slice() else { panic!("{bindings:?}") };
            assert_eq!((patch.verb.as_str(), put.verb.as_str()), ("patch", "put"), "{}", rpc.name());
            assert_eq!((&patch.path, &patch.body), (&put.path, &put.body));
        }
    }
}

/// Returns the names that appear after a customer's id, or instead of one.
fn beside_ids() -> BTreeSet<String> {
    let after = |binding: &Binding| {
        let (segments, _) = binding.parts();
        let at = segments.iter().position(|segment| segment.as_deref() == Some("customers"))?;
        let name = segments.get(at + 2)?.clone();
        if segments[at + 1].is_none() { name } else { None }
    };
    all().iter().filter_map(after).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_slug_is_a_name_that_stands_after_a_customers_id() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let names = beside_ids();
    for name in ["ai-context", "business-context", "brand-voice"] {
        assert!(names.contains(name), "{names:?}");
    }
    for name in names {
        let customer = Customer { slug: name.clone(), ..named("Zoe") };
        let error = tenant.create(customer).await.expect_err(&name);
        error.is_invalid(&["customer.slug"]);
        assert_eq!(tenant.customer(&name).await.slug, format!("{name}-2"));
        assert_eq!(tenant.customer(&name.replace('-', " ")).await.slug, format!("{name}-3"));
    }
    let zoe = tenant.customer("Zoe").await;
    let change = Customer { slug: "ai-context".to_owned(), ..zoe };
    tenant.update(change, &["slug"]).await.expect_err("reserved").is_invalid(&["customer.slug"]);
}
