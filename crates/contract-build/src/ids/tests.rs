//! Where ids are found.

use super::*;
use crate::testing;

fn generated(messages: &str) -> String {
    generate(&testing::messages(messages), "crm.v1").expect("messages of the package")
}

#[test]
fn ids_are_found_wherever_they_stand() {
    let id = "[(buf.validate.field).string.uuid = true]";
    let code = generated(&format!(
        "message Inner {{ string id = 1 {id}; Inner inner = 2; }} \
         message Outer {{ string name = 1; optional string id = 2 {id}; \
         repeated string ids = 3 [(buf.validate.field).repeated.items.string.uuid = true]; \
         Inner one = 4; repeated Inner many = 5; map<string, Inner> by = 6; \
         oneof either {{ string this = 7 {id}; Inner that = 8; string other = 9; }} }}"
    ));
    let outer = code.split("impl ").find(|part| part.contains("pb::Outer")).expect("the message");
    for place in [
        "Some(value) = &mut self.id ",
        "value in &mut self.ids ",
        "Some(value) = &mut self.one ",
        "value in &mut self.many ",
        "value in self.by.values_mut() ",
        "Some(crate::pb::outer::Either::This(value)) = &mut self.either ",
        "Some(crate::pb::outer::Either::That(value)) = &mut self.either ",
    ] {
        assert!(outer.contains(place), "{place}: {outer}");
    }
    assert!(!outer.contains("self.name") && !outer.contains("Other"), "{outer}");
}
