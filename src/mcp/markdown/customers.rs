//! Customers.

use super::{Answer, joined, short, word};
use crate::pb;

/// The most characters of a text in a line of a list.
const SHOWN: usize = 120;

/// Writes customers, a line for each. Returns the answer and how many customers it has.
pub(in crate::mcp) fn list(customers: &[pb::Customer], budget: i64) -> (Answer, usize) {
    let mut answer = Answer::new(budget);
    let shown = answer.add_all(customers.iter().map(|customer| line(customer) + "\n"));
    (answer, shown)
}

/// Returns a customer in a line that begins with its slug.
pub(in crate::mcp) fn line(customer: &pb::Customer) -> String {
    let name = if customer.anonymous { "(no name yet)" } else { &customer.business_name };
    let tags =
        if customer.tags.is_empty() { String::new() } else { format!("tags: {}", customer.tags.join(", ")) };
    let owner = if customer.owner.is_empty() { String::new() } else { format!("owner: {}", customer.owner) };
    let place = joined([customer.city.as_str(), &customer.country_code], ", ");
    let deleted = if customer.delete_time.is_some() { "deleted" } else { "" };
    let status = word::<pb::CustomerStatus>(customer.status);
    let parts = [
        name,
        &status,
        deleted,
        &customer.contact_name,
        &customer.email,
        &customer.phone,
        &place,
        &customer.industry_category,
        &owner,
        &tags,
    ];
    let parts: Vec<_> = parts.iter().map(|part| short(part, SHOWN)).collect();
    format!("- `{}`: {}", customer.slug, joined(parts.iter().map(String::as_str), " · "))
}

/// Says what became of a customer that was saved.
pub(in crate::mcp) fn saved(customer: &pb::Customer, what: &str) -> String {
    format!("{what}\n{}\nId: {}", line(customer), customer.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customer() -> pb::Customer {
        pb::Customer {
            slug: "cafe-zoe".to_owned(),
            business_name: "Café Zoë".to_owned(),
            status: pb::CustomerStatus::Lead.into(),
            phone: "030/90182-0\next. 89".to_owned(),
            city: "Berlin".to_owned(),
            country_code: "DE".to_owned(),
            tags: vec!["vip".to_owned(), "fair".to_owned()],
            ..Default::default()
        }
    }

    #[test]
    fn a_customer_is_one_line_of_what_is_known() {
        let expected = "- `cafe-zoe`: Café Zoë · lead · 030/90182-0 ext. 89 · Berlin, DE · tags: vip, fair";
        assert_eq!(line(&customer()), expected);
        let visitor = pb::Customer { slug: "visitor-1".to_owned(), anonymous: true, ..Default::default() };
        assert_eq!(line(&visitor), "- `visitor-1`: (no name yet)");
        let long = pb::Customer { business_name: "é".repeat(256), ..customer() };
        assert!(line(&long).chars().count() < 250, "{}", line(&long));
    }

    #[test]
    fn a_list_says_how_many_had_room() {
        let customers = vec![customer(); 50];
        let (answer, shown) = list(&customers, 500);
        let text = answer.text();
        assert!((10..30).contains(&shown), "{shown}");
        assert_eq!(text.lines().count(), shown);
    }
}
