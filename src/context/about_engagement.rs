//! A customer's interest, purchases and campaigns, and the outcomes of its conversations, as a section of a
//! context.

use super::about_conversations::{day, outcomes};
use super::item::{Item, Section};
use super::model::{MAX_CAMPAIGNS, MAX_INTERESTS, MAX_PURCHASES};
use super::words::Words;
use crate::campaigns::assignments::store::Reached;
use crate::contract::Word;
use crate::conversations::store::briefs::Brief;
use crate::db::json::Json;
use crate::db::words::Text;
use crate::engagement::actions::Engagement;
use crate::engagement::interest::store::scores::Score;
use crate::engagement::purchases::store::{Bought, Item as Thing};
use crate::numbers;
use crate::pb::{AssignmentStatus, ContextSectionKind, ResourceType, Tokenizer};
use crate::rpc::money;

/// The limit of items of a purchase that are named. The statement reads the same number.
const MAX_THINGS: usize = 5;

/// Returns the section: the first of each kind, then the second of each, and so on, so that a small share has
/// some of all.
pub(super) fn section(
    engagement: &Engagement,
    present: Option<&Brief>,
    others: &[Brief],
    tokenizer: Tokenizer,
) -> Section {
    let Engagement { interests, purchases, campaigns } = engagement;
    let kinds = [
        interests.iter().take(MAX_INTERESTS).map(|score| interest(score, tokenizer)).collect(),
        purchases.iter().take(MAX_PURCHASES).map(|bought| purchase(bought, tokenizer)).collect(),
        campaigns.iter().take(MAX_CAMPAIGNS).map(|reached| campaign(reached, tokenizer)).collect(),
        outcomes(present, others, tokenizer),
    ];
    Section { kind: ContextSectionKind::Interest, items: by_turns(kinds) }
}

/// Returns, for each kind, how many rows were read, and how many of them are shown at most.
pub(super) fn read_of(engagement: &Engagement) -> [(ResourceType, usize, usize); 3] {
    let Engagement { interests, purchases, campaigns } = engagement;
    [
        (ResourceType::InterestEvent, interests.len(), MAX_INTERESTS),
        (ResourceType::Purchase, purchases.len(), MAX_PURCHASES),
        (ResourceType::Campaign, campaigns.len(), MAX_CAMPAIGNS),
    ]
}

fn by_turns<const N: usize>(kinds: [Vec<Item>; N]) -> Vec<Item> {
    let mut kinds = kinds.map(Vec::into_iter);
    let mut items = Vec::new();
    loop {
        let before = items.len();
        items.extend(kinds.iter_mut().filter_map(Iterator::next));
        if items.len() == before {
            return items;
        }
    }
}

/// Returns an item for a score. The score is as of the latest event, not as of now: time alone must not change
/// a context.
fn interest(score: &Score, tokenizer: Tokenizer) -> Item {
    let Score { subject, score, event_count, last_occurred_at, last_id } = score;
    let attitude = if *score < 0.0 { "Not interested" } else { "Interested" };
    let times = if *event_count == 1 { "once".to_owned() } else { format!("{event_count} times") };
    let how = format!("(score {score:.1}, {times}, last on {})", day(*last_occurred_at));
    let words = Words::new().ours(attitude).ours(" in \"").data(subject.trim()).ours("\" ").data(&how);
    Item { score: *score, ..Item::line(tokenizer, words, Some((ResourceType::InterestEvent, *last_id))) }
}

fn purchase(bought: &Bought, tokenizer: Tokenizer) -> Item {
    let Bought {
        id,
        currency,
        amount_micros,
        refunded_micros,
        items: Json(things),
        item_count,
        purchased_at,
    } = bought;
    let count = numbers::size(*item_count);
    let mut parts: Vec<String> = things
        .iter()
        .take(MAX_THINGS)
        .map(|Thing { name, quantity, .. }| format!("{quantity} x {name}"))
        .collect();
    if count > MAX_THINGS {
        parts.push(format!("{} other things", count - MAX_THINGS));
    }
    parts.push(money::show(currency, *amount_micros));
    let bought = Words::new().ours("Bought on ").data(&day(*purchased_at)).ours(": ");
    let mut words = bought.data(&parts.join(", "));
    if *refunded_micros > 0 {
        words = words.ours(" (refunded ").data(&money::show(currency, *refunded_micros)).ours(")");
    }
    Item::line(tokenizer, words, Some((ResourceType::Purchase, *id)))
}

fn campaign(reached: &Reached, tokenizer: Tokenizer) -> Item {
    let Reached { id, name, channel, progress, progressed_at } = reached;
    let mut words = Words::new().ours("Campaign \"").data(name).ours("\"");
    if let Some(Text(channel)) = channel {
        words = words.ours(" (").ours(channel.word()).ours(")");
    }
    let progress = AssignmentStatus::try_from(i32::from(*progress)).unwrap_or_default();
    // The time of progress is when an event was reported.
    words = words.ours(": ").ours(progress.word()).ours(" as of ").data(&day(*progressed_at));
    Item::line(tokenizer, words, Some((ResourceType::Campaign, *id)))
}
