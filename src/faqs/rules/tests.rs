use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization;

use super::*;
use crate::times;

fn faq(answer: &str) -> Faq {
    Faq {
        answer: answer.to_owned(),
        ..blank(Uuid::from_u128(1), Uuid::from_u128(2), "Open?".to_owned(), times::now())
    }
}

fn sighting(answer: &str) -> Sighting {
    Sighting {
        id: Uuid::from_u128(3),
        customer_id: Uuid::from_u128(2),
        kind: Text(FaqObservationKind::Asked),
        faq_id: None,
        question: "open".to_owned(),
        answer: answer.to_owned(),
        conversation_id: None,
        message_id: None,
        confidence: Some(0.9),
        observed_by: String::new(),
        seen_at: times::now(),
    }
}

fn check(verification: FaqVerificationStatus) -> Check {
    Check { verification: Text(verification), verified_by: "ana".to_owned(), answer: None, status: None }
}

#[test]
fn texts_that_are_the_same_have_one_normal_form() {
    for (text, expected) in [
        ("When do you open?", "when do you open"),
        ("  when\tdo\u{a0}you\n OPEN ?!", "when do you open"),
        ("¿Cuándo abren?", "cuando abren"),
        ("GROSSE STRASSE", "grosse strasse"),
        ("große Straße.", "grosse strasse"),
        ("Ｏｐｅｎ？", "open"),
        ("ﬁne", "fine"),
        ("ΣΑΣ", "σασ"),
        ("σας", "σασ"),
        ("„Offen“", "offen"),
        ("e\u{301}", "e"),
        ("1.5 or 2.5?", "1.5 or 2.5"),
        ("营业时间？", "营业时间"),
        ("???", "???"),
        ("", ""),
        (" ", ""),
    ] {
        assert_eq!(normal(text), expected, "{text}");
    }
    assert_ne!(normal("C"), normal("C++"));
    assert_eq!(normal("Où êtes-vous ?"), normal("ou etes-vous"));
}

#[test]
fn every_character_has_a_normal_form_that_stays() {
    let has_forms = |character: &char| {
        let text = character.to_string();
        text.to_lowercase() != text || text.to_uppercase() != text || text.nfkd().ne([*character])
    };
    // Later characters have no case and no compatibility forms.
    for character in ('\0'..='\u{2ffff}').filter(has_forms) {
        let form = normal(&format!("a{character}a"));
        assert_eq!(normal(&form), form, "{character:?}");
    }
}

#[test]
fn a_key_fits_an_index_and_tells_long_questions_apart() {
    let long = "\u{fdfa}".repeat(2_048);
    let (one, other) = (question_key(&format!("{long}a")), question_key(&format!("{long}b")));
    assert!(one.len() <= MAX_KEY + 65 && one != other);
    assert_eq!(question_key("Open?"), "open");
}

proptest! {
    #[test]
    fn a_normal_form_is_its_own(text in "\\PC{0,60}") {
        let form = normal(&text);
        prop_assert_eq!(normal(&form), form);
    }

    #[test]
    fn case_space_and_end_marks_make_no_difference(words in prop::collection::vec("[a-zäöüé]{1,8}", 1..6), end in "[?!. ]{0,4}") {
        let plain = fold::fold(&words.join(" "));
        let other = format!(" {}{end}", words.join("\t ").to_uppercase());
        prop_assert_eq!(normal(&other), plain);
    }

    #[test]
    fn confidence_is_bounded_and_moves_the_obvious_way(
        agreeing in 0.0..1e6_f64,
        conflicting in 0.0..1e6_f64,
        usage_count in 0..1_000_000_i64,
        more in 0.0..10.0_f64,
        uses in 0..100_i64,
    ) {
        use FaqVerificationStatus::{AiChecked, Disputed, HumanVerified, Unverified};
        let of = |agreeing_confidence, conflicting_confidence, usage_count, verification| {
            derived_confidence(&Faq {
                agreeing_confidence,
                conflicting_confidence,
                usage_count,
                verification: Text(verification),
                ..faq("Yes")
            })
        };
        for verification in [Unverified, AiChecked, HumanVerified, Disputed] {
            let base = of(agreeing, conflicting, usage_count, verification);
            prop_assert!((0.0..=1.0).contains(&base));
            prop_assert!(of(agreeing + more, conflicting, usage_count, verification) >= base);
            prop_assert!(of(agreeing, conflicting + more, usage_count, verification) <= base);
            prop_assert!(of(agreeing, conflicting, usage_count + uses, verification) >= base);
            let gain = of(agreeing + more, conflicting, usage_count, verification) - base;
            let later = of(agreeing + 2.0 * more, conflicting, usage_count, verification)
                - of(agreeing + more, conflicting, usage_count, verification);
            prop_assert!(later <= gain + 1e-12, "ever less");
        }
        let by = |verification| of(agreeing, conflicting, usage_count, verification);
        prop_assert!(by(Disputed) <= by(Unverified));
        prop_assert!(by(Unverified) <= by(AiChecked));
        prop_assert!(by(AiChecked) <= by(HumanVerified));
    }
}

#[test]
fn confidence_starts_low_and_a_person_makes_it_high() {
    let near = |faq: &Faq, expected: f64| assert!((faq.derived_confidence - expected).abs() < 1e-9);
    near(&faq("Yes"), 1.0 / 3.0);
    let (seen, _) = observe(&faq("Yes"), sighting("yes"));
    near(&seen, 1.9 / 3.9);
    let verified =
        verify(&faq("Yes"), check(FaqVerificationStatus::HumanVerified), times::now()).expect("fine");
    near(&verified, 0.9);
}

#[test]
fn an_answer_fills_agrees_or_conflicts() {
    let (filled, observation) = observe(&faq(""), sighting("At nine."));
    assert_eq!((filled.answer.as_str(), filled.agreeing_count), ("At nine.", 1));
    assert_eq!(observation.agreement, Some(Text(FaqAgreement::Agrees)));
    let (again, _) = observe(&filled, sighting("AT NINE"));
    assert_eq!((again.agreeing_count, again.status.0), (2, FaqStatus::Candidate));
    let (torn, observation) = observe(&again, sighting("At ten"));
    assert_eq!((torn.conflicting_count, torn.status.0), (1, FaqStatus::Conflict));
    assert_eq!(torn.answer, "At nine.");
    assert_eq!(observation.agreement, Some(Text(FaqAgreement::Conflicts)));
    let (silent, observation) = observe(&torn, sighting(" "));
    assert_eq!((silent.observation_count, observation.agreement), (4, None));
}

#[test]
fn what_a_person_verified_or_decided_keeps_its_status() {
    for (status, verification, after) in [
        (FaqStatus::Approved, FaqVerificationStatus::HumanVerified, FaqStatus::Approved),
        (FaqStatus::Approved, FaqVerificationStatus::AiChecked, FaqStatus::Conflict),
        (FaqStatus::Rejected, FaqVerificationStatus::Unverified, FaqStatus::Rejected),
        (FaqStatus::Archived, FaqVerificationStatus::Unverified, FaqStatus::Archived),
        (FaqStatus::Conflict, FaqVerificationStatus::Unverified, FaqStatus::Conflict),
    ] {
        let before = Faq { status: Text(status), verification: Text(verification), ..faq("Yes") };
        let (seen, _) = observe(&before, sighting("No"));
        assert_eq!((seen.status.0, seen.verification.0), (after, verification));
        assert_eq!((seen.conflicting_count, seen.answer.as_str()), (1, "Yes"));
        assert!(seen.derived_confidence < weighed(before).derived_confidence);
    }
}

#[test]
fn a_change_settles_what_it_decides() {
    let (torn, _) = observe(&faq("Yes"), sighting("No"));
    let settled = update(&torn, Faq { answer: "No".to_owned(), ..torn.clone() });
    assert_eq!((settled.status.0, settled.conflicting_count), (FaqStatus::Candidate, 0));
    let approved = update(&torn, Faq { status: Text(FaqStatus::Approved), ..torn.clone() });
    assert_eq!((approved.status.0, approved.conflicting_count), (FaqStatus::Approved, 0));
    let filed = update(&torn, Faq { category: "hours".to_owned(), ..torn.clone() });
    assert_eq!((filed.status.0, filed.conflicting_count), (FaqStatus::Conflict, 1));
    let spelled = update(&torn, Faq { answer: "YES!".to_owned(), ..torn.clone() });
    assert_eq!((spelled.status.0, spelled.conflicting_count), (FaqStatus::Conflict, 1));
}

#[test]
fn another_text_is_unverified() {
    let verified =
        verify(&faq("Yes"), check(FaqVerificationStatus::HumanVerified), times::now()).expect("fine");
    let changed = update(&verified, Faq { answer: "No".to_owned(), ..verified.clone() });
    assert_eq!(changed.verification.0, FaqVerificationStatus::Unverified);
    assert_eq!((changed.verified_by.as_str(), changed.verified_at), ("", None));
    let filed = update(&verified, Faq { category: "hours".to_owned(), ..verified.clone() });
    assert_eq!(filed.verification.0, FaqVerificationStatus::HumanVerified);
}

#[test]
fn a_check_settles_a_conflict() {
    let (torn, _) = observe(&faq("Yes"), sighting("No"));
    for (verification, status, count) in [
        (FaqVerificationStatus::AiChecked, FaqStatus::Candidate, 0),
        (FaqVerificationStatus::HumanVerified, FaqStatus::Approved, 0),
        (FaqVerificationStatus::Disputed, FaqStatus::Conflict, 1),
    ] {
        let after = verify(&torn, check(verification), times::now()).expect("fine");
        assert_eq!((after.status.0, after.conflicting_count), (status, count));
    }
    let rejected =
        Check { status: Some(Text(FaqStatus::Rejected)), ..check(FaqVerificationStatus::Disputed) };
    assert_eq!(verify(&torn, rejected, times::now()).expect("fine").status.0, FaqStatus::Rejected);
}

#[test]
fn a_machine_does_not_overrule_a_person() {
    let verified =
        verify(&faq("Yes"), check(FaqVerificationStatus::HumanVerified), times::now()).expect("fine");
    let again = verify(&verified, check(FaqVerificationStatus::AiChecked), times::now()).expect("fine");
    assert_eq!(again, verified);
}

#[test]
fn there_is_something_to_verify() {
    let nothing = verify(&faq(" "), check(FaqVerificationStatus::AiChecked), times::now());
    assert!(nothing.is_err());
    assert!(verify(&faq(""), check(FaqVerificationStatus::Disputed), times::now()).is_ok());
    let both = Check { answer: Some("No".to_owned()), ..check(FaqVerificationStatus::Disputed) };
    assert!(verify(&faq("Yes"), both, times::now()).is_err());
}

#[test]
fn counts_are_no_revision() {
    let before = faq("Yes");
    let (seen, _) = observe(&before, sighting("yes"));
    let later = before.updated_at + chrono::TimeDelta::seconds(1);
    let counted = dated(&before, seen, later);
    assert_eq!((counted.revision, counted.updated_at, counted.active_at), (1, before.updated_at, later));
    let (torn, _) = observe(&before, sighting("No"));
    let changed = dated(&before, torn, later);
    assert_eq!((changed.revision, changed.updated_at), (2, later));
}
