//! A tenant with one of everything.

use crm_backend::pb::CampaignEventKind;
use uuid::Uuid;

use super::Tenant;
use super::campaigns::{Outcome, event};
use super::conversations::message;
use super::engagement::{back, viewed};
use super::faqs::about_message;
use super::samples::{About, analysis};

impl Tenant {
    /// Creates one resource of every kind, all of them about one customer. Tests that go through every RPC, field or
    /// table take theirs from here, so that a new kind is in all of them. May be called again.
    pub(crate) async fn everything(&self) -> About {
        let talk = self.conversation().await;
        let (said, _) = self.add(&talk.id, message("a", "Hello")).await.expect("added");
        let observed = self.faqs().record_faq_observation(about_message(&talk, &said, "Open?", "Yes.")).await;
        let observed = observed.expect("observed").into_inner();
        let campaign = self.campaign("Spring").await.id;
        self.assign(&campaign, &[&talk.customer_id]).await.expect("assigned");
        let kinds = [CampaignEventKind::Sent, CampaignEventKind::OptedIn];
        let events = kinds.map(|kind| event(&format!("{kind:?}"), &talk.customer_id, kind));
        let events = self.record(&campaign, &events).await.expect("recorded");
        let purchase = self.purchase(&talk.customer_id).await;
        self.refund(back(&purchase, Some(1))).await.expect("refunded");
        let seen = viewed(&Uuid::new_v4().to_string(), "Beans", 0);
        let interest = self.show(&talk.customer_id, &[seen]).await;
        About {
            analysis: self.analyse(analysis(&talk.id)).await.expect("recorded").id,
            question: self.question(&talk.customer_id, "Why?").await.id,
            slug: self.get(&talk.customer_id).await.expect("there").slug,
            campaign_event: events[0].id().to_owned(),
            interest_event: interest[0].id().to_owned(),
            audit_event: self.events(Default::default()).await.remove(0).id,
            purchase: purchase.id,
            customer: talk.customer_id,
            conversation: talk.id,
            message: said.id,
            faq: observed.customer_faq.expect("a FAQ").id,
            observation: observed.observation.expect("it").id,
            campaign,
            ..About::nothing()
        }
    }
}
