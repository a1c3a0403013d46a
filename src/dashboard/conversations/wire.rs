//! Statistics of conversations: messages ⇄ parameters and results.

use chrono::{DateTime, Utc};

use super::actions::{Params, Statistics};
use super::store::models::Usage;
use super::store::{Group, Part, Scope};
use super::tally::{Said, Saying};
use crate::contract::Word;
use crate::dashboard::wire::{conversations, count, count_of, full_name, window, window_of};
use crate::db::words::{Text, stored_each};
use crate::error::Result;
use crate::pb::{
    self, ConversationEnvironment, ConversationOutcome, ConversationStatus, EntryPoint,
    ListConversationsRequest, Modality, ObjectionKind, SentimentLabel,
};
use crate::times;

/// Returns the parameters of a request.
pub(in crate::dashboard) fn params(
    request: &pb::GetConversationStatisticsRequest,
    now: DateTime<Utc>,
) -> Result<Params> {
    let pb::GetConversationStatisticsRequest { time_from, time_until, environments } = request;
    let mut environments: Vec<_> = stored_each(environments);
    if environments.is_empty() {
        environments.push(Text(ConversationEnvironment::Live));
    }
    let window = window(time_from.as_ref(), time_until.as_ref(), now)?;
    Ok(Params { scope: Scope { window, environments } })
}

/// Returns the answer.
pub(in crate::dashboard) fn answer(
    params: &Params,
    statistics: &Statistics,
) -> pb::GetConversationStatisticsResponse {
    let Statistics { groups, duration, response_duration, usages, sayings } = statistics;
    let Scope { window, environments: _ } = params.scope;
    let all = groups.iter().find(|group| group.is_of(Part::All));
    let (total, message_count) = all.map_or((0, 0), |all| (all.conversations, all.messages));
    let counted = Counted(&params.scope);
    pb::GetConversationStatisticsResponse {
        window: Some(window_of(window, "")),
        total: Some(count("", total, Some(conversations(counted.all())))),
        statuses: counted.words(groups, Part::Status, |list, status: ConversationStatus| {
            list.statuses.push(status.into());
        }),
        entry_points: counted.words(groups, Part::EntryPoint, |list, entry_point: EntryPoint| {
            list.entry_points.push(entry_point.into());
        }),
        modalities: counted.words(groups, Part::Modality, |list, modality: Modality| {
            list.modalities.push(modality.into());
        }),
        presenters: counted.presenters(groups),
        outcomes: counted.words(groups, Part::Outcome, |list, outcome: ConversationOutcome| {
            list.outcomes.push(outcome.into());
        }),
        message_count,
        duration: Some((*duration).into()),
        response_duration: Some((*response_duration).into()),
        models: usages.iter().map(model).collect(),
        sentiments: counted.sentiments(sayings),
        topics: counted.texts(sayings, Said::Topic, |list, topic| list.topic = topic),
        questions: counted.texts(sayings, Said::Question, |list, question| list.question = question),
        objections: counted.objections(sayings),
    }
}

/// The conversations that are counted.
struct Counted<'s>(&'s Scope);

impl Counted<'_> {
    /// Returns the request that lists all of them.
    fn all(&self) -> ListConversationsRequest {
        let Scope { window, environments } = self.0;
        ListConversationsRequest {
            environments: environments.iter().map(|word| word.0.into()).collect(),
            start_time_from: Some(times::to_wire(window.from)),
            start_time_until: Some(times::to_wire(window.until)),
            ..Default::default()
        }
    }

    /// Returns the request that lists those of them that match the filters that `narrow` sets.
    fn rows(&self, narrow: impl FnOnce(&mut ListConversationsRequest)) -> pb::DashboardRows {
        let mut list = self.all();
        narrow(&mut list);
        conversations(list)
    }

    /// Returns the number of conversations by a word, in the order of the words. Those without a word come
    /// first.
    fn words<E: Word>(
        &self,
        groups: &[Group],
        part: Part,
        narrow: impl Fn(&mut ListConversationsRequest, E),
    ) -> Vec<pb::DashboardCount> {
        let found = groups.iter().filter(|group| group.is_of(part));
        let mut found: Vec<_> = found.map(|group| (E::from_word(&group.value), group)).collect();
        found.sort_by_key(|(word, _)| word.map_or(0, Into::into));
        let count_word = |(word, group): (Option<E>, &Group)| {
            let rows = word.map(|word| self.rows(|list| narrow(list, word)));
            count(full_name::<E>(&group.value), group.conversations, rows)
        };
        found.into_iter().map(count_word).collect()
    }

    fn presenters(&self, groups: &[Group]) -> Vec<pb::DashboardCount> {
        let rows = |id: &str| self.rows(|list| list.presenter_id = id.to_owned());
        let found = groups.iter().filter(|group| group.is_of(Part::Presenter));
        found.map(|group| count_of(group.value.clone(), group.conversations, rows)).collect()
    }

    fn sentiments(&self, sayings: &[Saying]) -> Vec<pb::DashboardCount> {
        let found = sayings.iter().filter(|saying| saying.is(Said::Sentiment));
        let found = found.filter_map(|saying| Some((SentimentLabel::from_word(&saying.value)?, saying)));
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(|(label, _)| i32::from(*label));
        let count_label = |(label, saying): (SentimentLabel, &Saying)| {
            let rows = self.rows(|list| list.sentiments.push(label.into()));
            count(label.full_name(), saying.conversations, Some(rows))
        };
        found.into_iter().map(count_label).collect()
    }

    fn texts(
        &self,
        sayings: &[Saying],
        said: Said,
        narrow: impl Fn(&mut ListConversationsRequest, String),
    ) -> Vec<pb::DashboardCount> {
        let rows = |text: &str| self.rows(|list| narrow(list, text.to_owned()));
        let found = sayings.iter().filter(|saying| saying.is(said));
        found.map(|saying| count_of(saying.value.clone(), saying.conversations, rows)).collect()
    }

    fn objections(&self, sayings: &[Saying]) -> Vec<pb::ObjectionCount> {
        let found = sayings.iter().filter(|saying| saying.is(Said::Objection));
        let objection = |saying: &Saying| {
            let kind = ObjectionKind::from_word(&saying.value)?;
            Some(pb::ObjectionCount {
                kind: kind.into(),
                row_count: saying.conversations,
                unresolved_count: saying.unresolved,
                rows: Some(self.rows(|list| list.objection_kinds.push(kind.into()))),
            })
        };
        found.filter_map(objection).collect()
    }
}

fn model(usage: &Usage) -> pb::ModelUsage {
    let Usage { model, messages, prompt_tokens, completion_tokens, cached_tokens, response_duration } = usage;
    pb::ModelUsage {
        model: model.clone(),
        message_count: *messages,
        prompt_tokens: *prompt_tokens,
        completion_tokens: *completion_tokens,
        cached_tokens: *cached_tokens,
        response_duration: Some((*response_duration).into()),
    }
}
