// @generated automatically by Diesel CLI.

pub mod sql_types {
    #[derive(diesel::query_builder::QueryId, Clone, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "tsvector", schema = "pg_catalog"))]
    pub struct Tsvector;
}

diesel::table! {
    /// Keys that agents and scripts call with. Not for tenants: crm_app cannot read it.
    api_keys (id) {
        /// UUID version 7, made by the service; the key's name in logs.
        id -> Uuid,
        /// Whose key it is, in the words of the operator.
        name -> Text,
        /// SHA-256 of the secret. It has 256 random bits, so that neither salt nor stretching would add anything.
        secret_hash -> Bytea,
        /// Whether the key may be used for every tenant, those to come included.
        all_tenants -> Bool,
        /// The tenants that the key may be used for; none with all_tenants.
        tenants -> Array<Nullable<Uuid>>,
        /// What the key may be used for: words of Scope.
        scopes -> Array<Nullable<Text>>,
        /// When the key ends; null where it does not.
        expires_at -> Nullable<Timestamptz>,
        /// When the key was last used, to about a minute; null where it was not.
        last_used_at -> Nullable<Timestamptz>,
        /// When the key was revoked; null where it was not.
        revoked_at -> Nullable<Timestamptz>,
        /// When the key was made.
        created_at -> Timestamptz,
        /// When the row last changed, use apart.
        updated_at -> Timestamptz,
        /// Counts the changes of the row, use apart, from 1.
        revision -> Int8,
    }
}

diesel::table! {
    /// Who did what, to what, when, and what came of it. Rows never change; the service deletes them when their retention is over.
    audit_events (tenant_id, id) {
        /// The tenant.
        tenant_id -> Uuid,
        /// UUID version 7, made by the service of created_at.
        id -> Uuid,
        /// When it was done.
        created_at -> Timestamptz,
        /// Who did it, as the credential says.
        principal -> Text,
        /// The RPC, e.g. crm.v1.CustomerService/CreateCustomer, or what the service did by itself.
        method -> Text,
        /// The kind of the changed resource, a value of ResourceType.
        resource_type -> Text,
        /// That thing; null when the call did not name it by a UUID, or failed to make it.
        resource_id -> Nullable<Uuid>,
        /// What came of it.
        outcome -> Text,
        /// The status code of the answer, a value of google.rpc.Code.
        code -> Int4,
        /// Why it failed, a value of ErrorReason; null when it succeeded.
        reason -> Nullable<Text>,
        /// The id that the service gave the call; null for what the service did by itself.
        call_id -> Nullable<Uuid>,
        /// The UUID that the client made for the call; null when it made none.
        request_id -> Nullable<Uuid>,
        /// The smallest sequence of the messages that were stored with the event; null for all but messages.
        first_sequence -> Nullable<Int8>,
        /// The largest of them.
        last_sequence -> Nullable<Int8>,
        /// When the event no longer stands for what else the principal writes to the conversation.
        covers_until -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    /// Whom campaigns are for, and how far they have come.
    campaign_customers (tenant_id, campaign_id, customer_id) {
        /// The tenant.
        tenant_id -> Uuid,
        /// The campaign.
        campaign_id -> Uuid,
        /// The customer.
        customer_id -> Uuid,
        /// How far the customer has come, a value of AssignmentStatus: the largest of all its events.
        progress -> Int2,
        /// When the customer was assigned.
        created_at -> Timestamptz,
        /// When the progress last changed.
        updated_at -> Timestamptz,
        /// Counts the changes of the progress, from 1.
        revision -> Int8,
    }
}

diesel::table! {
    /// What happened between campaigns and customers. Rows never change.
    campaign_events (tenant_id, id) {
        /// The tenant.
        tenant_id -> Uuid,
        /// UUID version 7, made by the service.
        id -> Uuid,
        /// The campaign.
        campaign_id -> Uuid,
        /// The client's id, once in a tenant.
        event_id -> Text,
        /// The customer.
        customer_id -> Uuid,
        /// What happened.
        kind -> Text,
        /// When it happened.
        occurred_at -> Timestamptz,
        /// Whether the client said when; else it is when it was recorded.
        has_occurred_at -> Bool,
        /// The conversation that it led to or happened in; null if unspecified.
        conversation_id -> Nullable<Uuid>,
        /// What it cost, in millionths of the campaign's currency; null if unspecified.
        cost_micros -> Nullable<Int8>,
        /// Why it bounced; null when unknown, or when it did not.
        bounce_kind -> Nullable<Text>,
        /// What the sending system said.
        detail -> Text,
        /// The link that was followed, or the page of the conversion.
        url -> Text,
        /// When it was recorded.
        created_at -> Timestamptz,
        /// How it reached the customer: what the client said, or else the campaign's channel when the event was recorded; null when it had none.
        channel -> Nullable<Text>,
    }
}

diesel::table! {
    /// What a tenant sends to many customers.
    campaigns (tenant_id, id) {
        /// The tenant.
        tenant_id -> Uuid,
        /// UUID version 7, made by the service.
        id -> Uuid,
        /// What the campaign is called.
        name -> Text,
        /// What it is for.
        goal -> Text,
        /// How it reaches its customers; null if unspecified.
        channel -> Nullable<Text>,
        /// Whom it is for, in words.
        audience -> Text,
        /// Where it stands.
        status -> Text,
        /// When it is to begin; null if unspecified.
        starts_at -> Nullable<Timestamptz>,
        /// When it is to end; null if unspecified.
        ends_at -> Nullable<Timestamptz>,
        /// The ISO 4217 code of its amounts; null when it has none.
        currency -> Nullable<Text>,
        /// What it may cost, in millionths; null if unspecified.
        budget_micros -> Nullable<Int8>,
        /// What it has cost beside its events, in millionths; null if unspecified.
        spent_micros -> Nullable<Int8>,
        /// When the campaign was created.
        created_at -> Timestamptz,
        /// When the campaign last changed; assignments and events do not change it.
        updated_at -> Timestamptz,
        /// Counts the changes of the campaign, from 1; the etag.
        revision -> Int8,
    }
}

diesel::table! {
    /// What was made of a conversation, version after version.
    conversation_analyses (tenant_id, id) {
        /// The tenant.
        tenant_id -> Uuid,
        /// UUID version 7, made by the service.
        id -> Uuid,
        /// The conversation.
        conversation_id -> Uuid,
        /// Counts the analyses of the conversation, from 1.
        version -> Int4,
        /// What made it.
        model -> Text,
        /// Sequence of the last message that it has seen.
        covers_through_sequence -> Int8,
        /// What was talked about.
        topics -> Array<Nullable<Text>>,
        /// What the customer asked.
        questions -> Array<Nullable<Text>>,
        /// What the customer had against it: kind, status, evidence.
        objections -> Jsonb,
        /// The customer's mood: score, magnitude, label, trend; null if unspecified.
        sentiment -> Nullable<Jsonb>,
        /// The conversation in short.
        summary -> Text,
        /// When the analysis was recorded.
        created_at -> Timestamptz,
        /// The same as created_at.
        updated_at -> Timestamptz,
        /// Always 1.
        revision -> Int8,
        /// The change_count at which the analysis was recorded; 0 before there was one.
        change -> Int8,
    }
}

diesel::table! {
    /// What was said in conversations.
    conversation_messages (tenant_id, id) {
        /// The tenant.
        tenant_id -> Uuid,
        /// UUID version 7, made by the service.
        id -> Uuid,
        /// The conversation.
        conversation_id -> Uuid,
        /// Place in the conversation: 1, 2, 3 and so on without a hole.
        sequence -> Int8,
        /// The client's key, once in a conversation.
        message_key -> Text,
        /// Whose words these are.
        role -> Text,
        /// Who it was, in the client's words.
        author -> Text,
        /// How far the message has come.
        status -> Text,
        /// The text.
        content -> Text,
        /// The media type of the text.
        content_type -> Text,
        /// How a model made it: provider, model, prompt_tokens, completion_tokens, cached_tokens, response_duration_us, time_to_first_token_us, finish_reason; null if no model made it.
        ai -> Nullable<Jsonb>,
        /// What was done for it, in order: id, name, arguments, result, status; arguments and result are text, kept to the letter.
        actions -> Jsonb,
        /// The client's own object.
        metadata -> Jsonb,
        /// When it was said by the client's clock; null when not told.
        sent_at -> Nullable<Timestamptz>,
        /// SHA-256 of the message as it was sent; another one under the same key means that the key was used again.
        fingerprint -> Bytea,
        /// When the message was added.
        created_at -> Timestamptz,
        /// When the message last changed.
        updated_at -> Timestamptz,
        /// Counts the changes of the message, from 1; the etag.
        revision -> Int8,
        /// The change_count at which the message last changed after it was added; null when it never did.
        change -> Nullable<Int8>,
        /// Tokens (o200k_base) of the text as a context quotes it; null while not counted.
        token_count -> Nullable<Int4>,
        /// The model that made it, empty if ai does not name it; null if no model made it. Of ai, as all columns ai_….
        ai_model -> Nullable<Text>,
        /// Tokens of the prompt.
        ai_prompt_tokens -> Nullable<Int8>,
        /// Tokens of the answer.
        ai_completion_tokens -> Nullable<Int8>,
        /// Tokens of the prompt that came from a cache.
        ai_cached_tokens -> Nullable<Int8>,
        /// How long the model took, in microseconds; null when not told.
        ai_response_duration_us -> Nullable<Int8>,
    }
}

diesel::table! {
    /// Every talk of a tenant with a customer.
    conversations (tenant_id, id) {
        /// The tenant.
        tenant_id -> Uuid,
        /// UUID version 7, made by the service.
        id -> Uuid,
        /// The customer.
        customer_id -> Uuid,
        /// Names the conversation in the client's words, one at a time of those that have not ended.
        session_id -> Text,
        /// Where the conversation began; null if unspecified.
        entry_point -> Nullable<Text>,
        /// The way to the person; null when unspecified.
        contact_channel -> Nullable<Text>,
        /// How both sides talk: text, voice and so on.
        modality -> Text,
        /// Tells real conversations from others.
        environment -> Text,
        /// What speaks for the tenant.
        presenter_kind -> Text,
        /// The presenter's id, in the client's words.
        presenter_id -> Text,
        /// What the presenter calls itself.
        presenter_name -> Text,
        /// The part that the presenter plays.
        presenter_persona -> Text,
        /// The state; from ENDED and ABANDONED only a reopening leads on.
        status -> Text,
        /// When the conversation began.
        started_at -> Timestamptz,
        /// When the conversation ended; null while it has not.
        ended_at -> Nullable<Timestamptz>,
        /// Sequence of the last message, which is also how many there are.
        last_sequence -> Int8,
        /// When the last message was added; null if the conversation has no message.
        last_message_at -> Nullable<Timestamptz>,
        /// A copy of the analysis that covers most; analyses never change, so it cannot go stale.
        latest_analysis -> Nullable<Jsonb>,
        /// What came of the conversation; null when not known.
        outcome -> Nullable<Text>,
        /// More about the outcome.
        outcome_notes -> Text,
        /// Why a person or another agent took over; null if the conversation was not handed off.
        handoff_reason -> Nullable<Text>,
        /// Whether something is left to do.
        follow_up_needed -> Bool,
        /// Until when it is to be done.
        follow_up_due_at -> Nullable<Timestamptz>,
        /// What is left to do.
        follow_up_notes -> Text,
        /// The client's own object.
        metadata -> Jsonb,
        /// When the conversation was created here.
        created_at -> Timestamptz,
        /// When the conversation's own fields last changed; messages do not change it.
        updated_at -> Timestamptz,
        /// Counts the changes of the conversation's own fields, from 1; the etag.
        revision -> Int8,
        /// Counts what changed besides added messages: messages that were added before, analyses, the conversation itself.
        change_count -> Int8,
        /// The change_count at which the conversation's own fields last changed; 0 when they never did.
        own_change -> Int8,
    }
}

diesel::table! {
    /// What customers last said about being contacted on a channel, kept by the events that tell it.
    customer_consents (tenant_id, customer_id, channel) {
        /// The tenant.
        tenant_id -> Uuid,
        /// The customer.
        customer_id -> Uuid,
        /// The channel of the event that decided; OTHER where that has none.
        channel -> Text,
        /// What the customer said: the kind of the event that decided.
        state -> Text,
        /// When that event happened.
        occurred_at -> Timestamptz,
        /// Its campaign.
        campaign_id -> Uuid,
        /// The event.
        campaign_event_id -> Uuid,
        /// The client's id of it, which decides between events of one campaign at the same time.
        event_id -> Text,
        /// When the customer first said something about the channel.
        created_at -> Timestamptz,
        /// When another event last decided.
        updated_at -> Timestamptz,
        /// Counts the events that decided, from 1.
        revision -> Int8,
    }
}

diesel::table! {
    /// How many customers that are not deleted have a value, updated by each statement that changes customers.
    customer_counts (tenant_id, dimension, value, shard) {
        /// The tenant.
        tenant_id -> Uuid,
        /// The column of customers, in capitals.
        dimension -> Text,
        /// The value in it.
        value -> Text,
        /// The last four bits of the ids of the customers that are counted here.
        shard -> Int2,
        /// How many there are.
        customers -> Int8,
        /// When the first was counted.
        created_at -> Timestamptz,
        /// When the number last changed.
        updated_at -> Timestamptz,
        /// Counts the changes of the number, from 1.
        revision -> Int8,
    }
}

diesel::table! {
    /// The ids that customers have in other systems; a deleted customer holds none.
    customer_external_ids (tenant_id, source, external_id) {
        /// The tenant.
        tenant_id -> Uuid,
        /// The other system, in the tenant's words.
        source -> Text,
        /// The id there.
        external_id -> Text,
        /// The customer.
        customer_id -> Uuid,
        /// When the row was written.
        created_at -> Timestamptz,
        /// The same: rows are written anew, and do not change.
        updated_at -> Timestamptz,
        /// Always 1: rows do not change.
        revision -> Int8,
    }
}

diesel::table! {
    /// The words by which FAQs are found: their stems, and as they are written. FAQs that are rejected or archived have none.
    customer_faq_terms (tenant_id, faq_id, term) {
        /// The tenant.
        tenant_id -> Uuid,
        /// The customer of the FAQ.
        customer_id -> Uuid,
        /// The FAQ.
        faq_id -> Uuid,
        /// The word as rpc::fold leaves it, or a stem that Postgres made of it; where there are no spaces between words, a pair of characters.
        term -> Text,
        /// How much it counts: 1 where the question has it, less where only the answer does.
        weight -> Float4,
        /// When the words of the FAQ were made.
        created_at -> Timestamptz,
        /// The same as created_at.
        updated_at -> Timestamptz,
        /// Always 1.
        revision -> Int8,
        /// Where the FAQ stands among those with the term: by whether its question has it, then by how few words it has, then by chance.
        place -> Int4,
    }
}

diesel::table! {
    /// Questions that a customer or its clientele asks, with their answers.
    customer_faqs (tenant_id, id) {
        /// The tenant.
        tenant_id -> Uuid,
        /// UUID version 7, made by the service.
        id -> Uuid,
        /// The customer.
        customer_id -> Uuid,
        /// The question.
        question -> Text,
        /// The question without differences that do not matter, by which it is recognised; made by the service.
        normalized_question -> Text,
        /// The answer.
        answer -> Text,
        /// A heading to file it under.
        category -> Text,
        /// Where it came from.
        source -> Text,
        /// The conversation that it came from.
        source_conversation_id -> Nullable<Uuid>,
        /// The message that it came from.
        source_message_id -> Nullable<Uuid>,
        /// Whether it may be used.
        status -> Text,
        /// Whether the answer was verified, and how.
        verification -> Text,
        /// Who checked it.
        verified_by -> Text,
        /// When it was checked.
        verified_at -> Nullable<Timestamptz>,
        /// How sure the writer is, 0 to 1.
        reported_confidence -> Nullable<Float8>,
        /// How sure the service is, 0 to 1.
        derived_confidence -> Float8,
        /// How often it was used.
        usage_count -> Int8,
        /// When it was last used.
        last_used_at -> Nullable<Timestamptz>,
        /// When the FAQ was created.
        created_at -> Timestamptz,
        /// When the FAQ last changed.
        updated_at -> Timestamptz,
        /// Counts the changes of the FAQ, from 1; the etag.
        revision -> Int8,
        /// How often the question was observed to be asked.
        observation_count -> Int8,
        /// Observations that gave this answer, since it was last changed.
        agreeing_count -> Int8,
        /// The sum of their confidences.
        agreeing_confidence -> Float8,
        /// Observations that gave another answer, since that was last settled.
        conflicting_count -> Int8,
        /// The sum of their confidences.
        conflicting_confidence -> Float8,
        /// When the question was last observed to be asked.
        last_observed_at -> Nullable<Timestamptz>,
        /// When the FAQ was last changed or observed; what recency in a search is about.
        active_at -> Timestamptz,
        /// The text search configuration that its words were made with.
        search_config -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::Tsvector;

    /// The businesses that a tenant sells to.
    customers (tenant_id, id) {
        /// The tenant.
        tenant_id -> Uuid,
        /// UUID version 7, made by the service.
        id -> Uuid,
        /// The name of the business; empty for a visitor whose name is not known.
        business_name -> Text,
        /// The first 320 bytes of business_name without case and accents, for ordering; made by the service.
        sort_name -> Text,
        /// Names the customer in addresses; stays reserved while the customer is deleted.
        slug -> Text,
        /// The person to talk to.
        contact_name -> Text,
        /// The e-mail address of the contact.
        email -> Text,
        /// The telephone number of the contact, as it was written.
        phone -> Text,
        /// The web site, an absolute URI.
        website -> Text,
        /// The postal address: address, city, region, postal_code, country_code.
        address -> Jsonb,
        /// The trade, in the tenant's words.
        industry_category -> Text,
        /// How large the business is, in the tenant's words.
        size -> Text,
        /// Where the customer stands.
        status -> Text,
        /// Where the customer came from, in the tenant's words.
        source -> Text,
        /// Who is responsible for the customer.
        owner -> Text,
        /// Free labels.
        tags -> Array<Nullable<Text>>,
        /// The customer's ids in other systems of the tenant: source, id. customer_external_ids has those of customers that are not deleted.
        external_ids -> Jsonb,
        /// What is known about the business: description, products_and_services, target_audience, value_proposition, competitors, goals, challenges.
        business_context -> Jsonb,
        /// How the business speaks: tone, style, vocabulary, dos, donts, sample_texts.
        brand_voice -> Jsonb,
        /// What the customer wants to be sent: topics, formats, preferred_channels, languages, frequency, avoid.
        content_preferences -> Jsonb,
        /// The tenant's own fields.
        custom_attributes -> Jsonb,
        /// What the customer is found by, each lexeme after the id of its tenant; made by the service.
        search_vector -> Tsvector,
        /// When the customer was deleted; null while it is not.
        deleted_at -> Nullable<Timestamptz>,
        /// When the customer was created.
        created_at -> Timestamptz,
        /// When the customer last changed.
        updated_at -> Timestamptz,
        /// Counts the changes of the customer, from 1; the etag.
        revision -> Int8,
        /// The first number of phone in E.164; empty where none can be dialled. Made by the service.
        phone_e164 -> Text,
    }
}

diesel::table! {
    /// Each time that a question was asked or a FAQ was used. Rows never change.
    faq_observations (tenant_id, id) {
        /// The tenant.
        tenant_id -> Uuid,
        /// UUID version 7, made by the service.
        id -> Uuid,
        /// The customer of the FAQ.
        customer_id -> Uuid,
        /// The FAQ.
        faq_id -> Uuid,
        /// What was observed.
        kind -> Text,
        /// The question as it was asked; empty if unspecified.
        question -> Text,
        /// The answer that was given; empty when there was none.
        answer -> Text,
        /// How the answer stood to the FAQ's at that moment; null without an answer.
        agreement -> Nullable<Text>,
        /// The conversation; null if unspecified.
        conversation_id -> Nullable<Uuid>,
        /// The message; null if unspecified.
        message_id -> Nullable<Uuid>,
        /// How sure the observer is, 0 to 1; null if unspecified.
        confidence -> Nullable<Float8>,
        /// Who observed it, in the client's words.
        observed_by -> Text,
        /// When the observation was recorded.
        created_at -> Timestamptz,
        /// The same as created_at.
        updated_at -> Timestamptz,
        /// Always 1.
        revision -> Int8,
    }
}

diesel::table! {
    /// What a call with a request_id answered, so that its retry answers the same.
    idempotency_keys (tenant_id, method, request_id) {
        /// The tenant.
        tenant_id -> Uuid,
        /// The RPC, e.g. crm.v1.CustomerService/CreateCustomer.
        method -> Text,
        /// The UUID that the client made for the request.
        request_id -> Uuid,
        /// SHA-256 of the encoded request; another one means that the id was used again.
        fingerprint -> Bytea,
        /// The encoded response; null only inside the transaction that makes it.
        response -> Nullable<Bytea>,
        /// When the answer may be forgotten.
        expires_at -> Timestamptz,
        /// When the row was made.
        created_at -> Timestamptz,
        /// When the row last changed.
        updated_at -> Timestamptz,
        /// Counts the changes of the row, from 1.
        revision -> Int8,
    }
}

diesel::table! {
    /// Each time that a customer showed interest in something. Rows never change.
    interest_events (tenant_id, id) {
        /// The tenant.
        tenant_id -> Uuid,
        /// UUID version 7, made by the service.
        id -> Uuid,
        /// The client's id, once in a tenant.
        event_id -> Text,
        /// The customer.
        customer_id -> Uuid,
        /// How interest was shown.
        kind -> Text,
        /// What it is in, in the client's words.
        subject -> Text,
        /// The subject as rpc::fold leaves it; made by the service.
        subject_key -> Text,
        /// How much it counts when it happens.
        weight -> Float8,
        /// The ISO 4217 code of the value; null when it has none.
        value_currency -> Nullable<Text>,
        /// What it is worth to the tenant, in millionths; null when unknown.
        value_micros -> Nullable<Int8>,
        /// The system that reported it, in the client's words.
        source -> Text,
        /// When it happened.
        occurred_at -> Timestamptz,
        /// Whether the client said when; else it is when it was recorded.
        has_occurred_at -> Bool,
        /// The conversation it happened in; null when in none.
        conversation_id -> Nullable<Uuid>,
        /// The campaign that it came of; null when of none.
        campaign_id -> Nullable<Uuid>,
        /// The outcome that the conversation got by it; null when it got none.
        outcome -> Nullable<Text>,
        /// When it was recorded.
        created_at -> Timestamptz,
    }
}

diesel::table! {
    /// The messages in progress, and who writes them.
    message_drafts (tenant_id, message_id) {
        /// The tenant.
        tenant_id -> Uuid,
        /// The message.
        message_id -> Uuid,
        /// Its conversation.
        conversation_id -> Uuid,
        /// Who writes it, in the client's words.
        producer_id -> Text,
        /// The stream that may write it; a later one of the same producer takes it over.
        holder -> Uuid,
        /// When that stream took it. The lease runs from then, and from every piece, by the clock of the database.
        held_at -> Timestamptz,
        /// When the message came to be in progress.
        created_at -> Timestamptz,
        /// When another stream last took it.
        updated_at -> Timestamptz,
        /// Counts the streams that held it, from 1.
        revision -> Int8,
    }
}

diesel::table! {
    /// Text of messages in progress, piece by piece.
    message_pieces (tenant_id, message_id, start_offset) {
        /// The tenant.
        tenant_id -> Uuid,
        /// The message.
        message_id -> Uuid,
        /// Where the piece begins in the message's text, in bytes of UTF-8.
        start_offset -> Int4,
        /// The piece.
        text -> Text,
        /// When the piece was stored, by the clock of the database.
        created_at -> Timestamptz,
        /// The same as created_at.
        updated_at -> Timestamptz,
        /// Always 1.
        revision -> Int8,
    }
}

diesel::table! {
    /// What is still to be asked of a customer, across its conversations.
    pending_questions (tenant_id, id) {
        /// The tenant.
        tenant_id -> Uuid,
        /// UUID version 7, made by the service.
        id -> Uuid,
        /// The customer to ask.
        customer_id -> Uuid,
        /// The question.
        question -> Text,
        /// The field of the customer that the answer fills, e.g. business_context.goals; empty if it fills no field.
        target_field -> Text,
        /// What the answer is for.
        purpose -> Text,
        /// How much it matters.
        priority -> Text,
        /// When to ask.
        timing -> Text,
        /// When to ask, if timing is SCHEDULED.
        scheduled_at -> Nullable<Timestamptz>,
        /// How far it has come.
        status -> Text,
        /// When it was last asked.
        asked_at -> Nullable<Timestamptz>,
        /// The conversation in which it was last asked.
        asked_conversation_id -> Nullable<Uuid>,
        /// The message with which it was last asked.
        asked_message_id -> Nullable<Uuid>,
        /// When it was answered.
        answered_at -> Nullable<Timestamptz>,
        /// The conversation in which it was answered.
        answered_conversation_id -> Nullable<Uuid>,
        /// The message with which it was answered.
        answered_message_id -> Nullable<Uuid>,
        /// The answer.
        answer -> Text,
        /// How sure the writer of the answer is, 0 to 1.
        confidence -> Nullable<Float8>,
        /// When the answer was verified.
        verified_at -> Nullable<Timestamptz>,
        /// Who verified the answer.
        verified_by -> Text,
        /// How often it was asked.
        attempt_count -> Int4,
        /// Not to be asked again before then.
        cooldown_until -> Nullable<Timestamptz>,
        /// Not to be asked any more after then.
        expires_at -> Nullable<Timestamptz>,
        /// When the question was created.
        created_at -> Timestamptz,
        /// When the question last changed.
        updated_at -> Timestamptz,
        /// Counts the changes of the question, from 1; the etag.
        revision -> Int8,
        /// The conversation that the question came from; null if it came from no conversation.
        source_conversation_id -> Nullable<Uuid>,
        /// When the question was last put aside, or declined.
        skipped_at -> Nullable<Timestamptz>,
        /// Why the question was last put aside, or declined.
        skip_reason -> Text,
        /// When the answer was written into the customer; null while it was not.
        written_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    /// What was paid back of purchases. Rows never change.
    purchase_refunds (tenant_id, id) {
        /// The tenant.
        tenant_id -> Uuid,
        /// UUID version 7, made by the service.
        id -> Uuid,
        /// The purchase.
        purchase_id -> Uuid,
        /// The refund's id at the payment provider, once in a purchase; null when unknown.
        refund_id -> Nullable<Text>,
        /// What was paid back, in millionths of the purchase's currency.
        amount_micros -> Int8,
        /// Why, in the client's words.
        reason -> Text,
        /// When it was recorded.
        created_at -> Timestamptz,
    }
}

diesel::table! {
    /// What customers bought.
    purchases (tenant_id, id) {
        /// The tenant.
        tenant_id -> Uuid,
        /// UUID version 7, made by the service.
        id -> Uuid,
        /// The customer.
        customer_id -> Uuid,
        /// The order's id in the tenant's shop, once in a tenant; null if unspecified.
        order_id -> Nullable<Text>,
        /// The payment's id at its provider; null when unknown.
        payment_id -> Nullable<Text>,
        /// The ISO 4217 code of its amounts.
        currency -> Text,
        /// The price, in millionths.
        amount_micros -> Int8,
        /// What was paid back of it, in millionths: the sum of its refunds.
        refunded_micros -> Int8,
        /// Whether it is paid, refunded, pending, failed or voided.
        status -> Text,
        /// The status with which it was recorded; a purchase that is sent again is held against it.
        recorded_status -> Text,
        /// What was bought, in order: sku, name, quantity, unit_price_micros.
        items -> Jsonb,
        /// When it was made.
        purchased_at -> Timestamptz,
        /// Whether the client said when; else it is when it was recorded.
        has_purchased_at -> Bool,
        /// The conversation that it came of; null when of none.
        conversation_id -> Nullable<Uuid>,
        /// The campaign that it came of; null when of none.
        campaign_id -> Nullable<Uuid>,
        /// The outcome that the conversation got by it; null when it got none.
        outcome -> Nullable<Text>,
        /// The client's own JSON object.
        metadata -> Jsonb,
        /// Why it was voided, in the client's words.
        void_reason -> Text,
        /// When it was recorded.
        created_at -> Timestamptz,
        /// When it was recorded, settled, voided or last refunded.
        updated_at -> Timestamptz,
        /// Counts the changes of the purchase, from 1; the etag.
        revision -> Int8,
    }
}

diesel::table! {
    /// Tenants with rows whose words and keys are yet to be made anew. Empty but after a migration that adds some.
    reindexing (tenant_id) {
        /// The tenant.
        tenant_id -> Uuid,
        /// When that became necessary.
        created_at -> Timestamptz,
        /// The same as created_at.
        updated_at -> Timestamptz,
        /// Always 1.
        revision -> Int8,
    }
}

diesel::table! {
    /// Secrets that all replicas of the service share. Not for tenants: crm_app cannot read it.
    service_keys (name) {
        /// What the key is for.
        name -> Text,
        /// The key: at least 32 random bytes.
        value -> Bytea,
        /// When the key was made.
        created_at -> Timestamptz,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    api_keys,
    audit_events,
    campaign_customers,
    campaign_events,
    campaigns,
    conversation_analyses,
    conversation_messages,
    conversations,
    customer_consents,
    customer_counts,
    customer_external_ids,
    customer_faq_terms,
    customer_faqs,
    customers,
    faq_observations,
    idempotency_keys,
    interest_events,
    message_drafts,
    message_pieces,
    pending_questions,
    purchase_refunds,
    purchases,
    reindexing,
    service_keys,
);

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::Tsvector;

    customer_list (tenant_id, id) {
        tenant_id -> Uuid,
        id -> Uuid,
        business_name -> Text,
        sort_name -> Text,
        slug -> Text,
        contact_name -> Text,
        email -> Text,
        phone -> Text,
        website -> Text,
        address -> Jsonb,
        industry_category -> Text,
        size -> Text,
        status -> Text,
        source -> Text,
        owner -> Text,
        tags -> Array<Nullable<Text>>,
        external_ids -> Jsonb,
        business_context -> Jsonb,
        brand_voice -> Jsonb,
        content_preferences -> Jsonb,
        custom_attributes -> Jsonb,
        search_vector -> Tsvector,
        deleted_at -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        revision -> Int8,
        phone_e164 -> Text,
    }
}
