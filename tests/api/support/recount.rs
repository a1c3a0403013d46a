//! Statistics of conversations, computed independently from lists.

use std::collections::{BTreeMap, BTreeSet};

use crm_backend::contract::Word;
use crm_backend::pb::{
    AiMetadata, Conversation, DashboardCount, DurationSpread, GetConversationStatisticsResponse, Message,
    ModelUsage, ObjectionCount, ObjectionStatus,
};
use crm_backend::rpc::fold::fold;
use crm_backend::times;

/// Returns the answer without windows and rows, so that it can be compared with a recount.
pub(crate) fn bare(answer: &GetConversationStatisticsResponse) -> GetConversationStatisticsResponse {
    let mut bare = answer.clone();
    bare.window = None;
    let lists = [
        &mut bare.statuses,
        &mut bare.entry_points,
        &mut bare.modalities,
        &mut bare.presenters,
        &mut bare.outcomes,
        &mut bare.sentiments,
        &mut bare.topics,
        &mut bare.questions,
    ];
    for number in lists.into_iter().flatten().chain(&mut bare.total) {
        number.rows = None;
    }
    bare.objections.iter_mut().for_each(|objection| objection.rows = None);
    bare
}

/// Returns the statistics of conversations with their messages.
pub(crate) fn recount(talks: &[(Conversation, Vec<Message>)]) -> GetConversationStatisticsResponse {
    let conversations: Vec<&Conversation> = talks.iter().map(|(talk, _)| talk).collect();
    let messages: Vec<&Message> = talks.iter().flat_map(|(_, messages)| messages).collect();
    let made: Vec<&AiMetadata> = messages.iter().filter_map(|message| message.ai.as_ref()).collect();
    let analyses = || conversations.iter().filter_map(|talk| talk.latest_analysis.as_ref());
    let durations = conversations.iter().filter_map(|talk| talk.duration.as_ref());
    let texts = |list: fn(&crm_backend::pb::ConversationAnalysis) -> &Vec<String>| {
        let mut found = by_text(analyses().map(list));
        found.truncate(20);
        found
    };
    GetConversationStatisticsResponse {
        window: None,
        total: Some(count("", conversations.len())),
        statuses: by_word(conversations.iter().map(|talk| talk.status())),
        entry_points: by_word(conversations.iter().map(|talk| talk.entry_point())),
        modalities: by_word(conversations.iter().map(|talk| talk.modality())),
        presenters: most_first(conversations.iter().map(|talk| presenter(talk))),
        outcomes: by_word(conversations.iter().map(|talk| talk.outcome())),
        message_count: i64::try_from(messages.len()).expect("a number of messages"),
        duration: Some(spread(durations.map(times::duration_to_micros))),
        response_duration: Some(spread(made.iter().filter_map(|ai| response_duration(ai)))),
        models: models(&made),
        sentiments: by_word(
            analyses()
                .filter_map(|analysis| analysis.sentiment.as_ref())
                .map(|sentiment| sentiment.label())
                .filter(|label| (*label as i32) != 0),
        ),
        topics: texts(|analysis| &analysis.topics),
        questions: texts(|analysis| &analysis.questions),
        objections: objections(&conversations),
    }
}

fn count(value: &str, count: usize) -> DashboardCount {
    DashboardCount {
        value: value.to_owned(),
        row_count: i64::try_from(count).expect("a number of rows"),
        rows: None,
    }
}

fn presenter(talk: &Conversation) -> String {
    talk.presenter.as_ref().map(|presenter| presenter.id.clone()).unwrap_or_default()
}

/// Counts by word, in the order of the words; the missing value comes first and has no word.
fn by_word<E: Word>(words: impl Iterator<Item = E>) -> Vec<DashboardCount> {
    let mut found: BTreeMap<i32, (E, usize)> = BTreeMap::new();
    for word in words {
        found.entry(word.into()).or_insert((word, 0)).1 += 1;
    }
    let counts = found
        .into_iter()
        .map(|(number, (word, times))| count(if number == 0 { "" } else { word.full_name() }, times));
    counts.collect()
}

/// Counts by value, the largest first.
fn most_first(values: impl Iterator<Item = String>) -> Vec<DashboardCount> {
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for value in values {
        *found.entry(value).or_default() += 1;
    }
    let mut counts: Vec<_> = found.iter().map(|(value, times)| count(value, *times)).collect();
    counts.sort_by(|a, b| b.row_count.cmp(&a.row_count).then_with(|| a.value.cmp(&b.value)));
    counts
}

/// Counts lists by the texts in them, ignoring case, with the first spelling in byte order.
fn by_text<'a>(lists: impl Iterator<Item = &'a Vec<String>>) -> Vec<DashboardCount> {
    let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for list in lists {
        let mut of_list = BTreeSet::new();
        for text in list {
            let (spelling, times) = found.entry(fold(text)).or_insert((text.clone(), 0));
            *spelling = spelling.clone().min(text.clone());
            *times += usize::from(of_list.insert(fold(text)));
        }
    }
    let mut counts: Vec<_> = found.values().map(|(spelling, times)| count(spelling, *times)).collect();
    counts.sort_by(|a, b| b.row_count.cmp(&a.row_count).then_with(|| a.value.cmp(&b.value)));
    counts
}

fn response_duration(ai: &AiMetadata) -> Option<i64> {
    ai.response_duration.as_ref().map(times::duration_to_micros)
}

/// Returns the smallest value that this percentage of the values does not exceed.
fn percentile(sorted: &[i64], percent: usize) -> i64 {
    sorted[(sorted.len() * percent).div_ceil(100) - 1]
}

fn spread(values: impl Iterator<Item = i64>) -> DurationSpread {
    let mut values: Vec<i64> = values.collect();
    values.sort_unstable();
    if values.is_empty() {
        return DurationSpread::default();
    }
    let count = i64::try_from(values.len()).expect("a number of values");
    let average = (2 * values.iter().sum::<i64>() + count).div_euclid(2 * count);
    DurationSpread {
        count,
        average: Some(times::duration_from_micros(average)),
        p50: Some(times::duration_from_micros(percentile(&values, 50))),
        p95: Some(times::duration_from_micros(percentile(&values, 95))),
    }
}

fn models(made: &[&AiMetadata]) -> Vec<ModelUsage> {
    let names: BTreeSet<&str> = made.iter().map(|ai| ai.model.as_str()).collect();
    let mut models: Vec<_> = names
        .into_iter()
        .map(|name| {
            let of: Vec<_> = made.iter().filter(|ai| ai.model == name).collect();
            ModelUsage {
                model: name.to_owned(),
                message_count: i64::try_from(of.len()).expect("a number of messages"),
                prompt_tokens: of.iter().filter_map(|ai| ai.prompt_tokens).map(i64::from).sum(),
                completion_tokens: of.iter().filter_map(|ai| ai.completion_tokens).map(i64::from).sum(),
                cached_tokens: of.iter().filter_map(|ai| ai.cached_tokens).map(i64::from).sum(),
                response_duration: Some(spread(of.iter().filter_map(|ai| response_duration(ai)))),
            }
        })
        .collect();
    models.sort_by(|a, b| b.message_count.cmp(&a.message_count).then_with(|| a.model.cmp(&b.model)));
    models
}

fn objections(conversations: &[&Conversation]) -> Vec<ObjectionCount> {
    let mut found: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
    for analysis in conversations.iter().filter_map(|talk| talk.latest_analysis.as_ref()) {
        let mut of_talk: BTreeMap<i32, bool> = BTreeMap::new();
        for objection in &analysis.objections {
            *of_talk.entry(objection.kind).or_default() |= objection.status() != ObjectionStatus::Resolved;
        }
        for (kind, unresolved) in of_talk {
            let (count, open) = found.entry(kind).or_default();
            *count += 1;
            *open += i64::from(unresolved);
        }
    }
    let mut objections: Vec<_> = found
        .into_iter()
        .map(|(kind, (count, unresolved_count))| ObjectionCount {
            kind,
            row_count: count,
            unresolved_count,
            rows: None,
        })
        .collect();
    objections
        .sort_by(|a, b| b.row_count.cmp(&a.row_count).then_with(|| a.kind().word().cmp(b.kind().word())));
    objections
}
