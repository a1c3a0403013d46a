use clap::Parser;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    auth: AuthConfig,
}

fn config(arguments: &str) -> AuthConfig {
    Cli::try_parse_from(["crm-backend"].into_iter().chain(arguments.split_whitespace()))
        .expect(arguments)
        .auth
}

/// On a loopback address, without TLS.
fn at_home() -> Surroundings {
    let listen = "127.0.0.1:50051".parse().expect("an address");
    Surroundings { listen, tls: false, client_ca: false, trust_tenant_header: false }
}

/// On an address that other machines can reach.
fn outside() -> Surroundings {
    Surroundings { listen: "0.0.0.0:50051".parse().expect("an address"), ..at_home() }
}

#[track_caller]
fn refused(arguments: &str, around: Surroundings, mentions: &[&str]) {
    let refusal = config(arguments).check(around).expect_err(arguments);
    for mention in mentions {
        assert!(refusal.contains(mention), "{arguments}: {mention} is not in: {refusal}");
    }
}

#[track_caller]
fn accepted(arguments: &str, around: Surroundings) {
    assert_eq!(config(arguments).check(around), Ok(()), "{arguments}");
}

const JWT: &str = "--auth jwt --jwt-issuer i --jwt-audience a";

#[test]
fn callers_are_believed_only_where_nobody_else_can_be_one() {
    accepted("", at_home());
    accepted("--auth insecure", at_home());
    accepted("", Surroundings { listen: "[::1]:50051".parse().expect("an address"), ..at_home() });
    accepted("", Surroundings { trust_tenant_header: true, ..outside() });
    refused("", outside(), &["0.0.0.0:50051", "--listen 127.0.0.1:50051", "--auth", "--trust-tenant-header"]);
    // Also with TLS, which proves the server's identity and not that of its clients.
    refused("", Surroundings { tls: true, ..outside() }, &["--trust-tenant-header"]);
}

#[test]
fn insecure_goes_with_nothing_else() {
    refused("--auth insecure,api-key", at_home(), &["insecure"]);
    refused(
        "--auth jwt,insecure --jwt-issuer i --jwt-audience a --jwt-jwks-file f",
        at_home(),
        &["insecure"],
    );
    let trusting = Surroundings { trust_tenant_header: true, ..at_home() };
    refused("--auth api-key", trusting, &["--trust-tenant-header"]);
}

#[test]
fn tokens_need_an_issuer_an_audience_and_one_source_of_keys() {
    refused("--auth jwt --jwt-audience a --jwt-jwks-file f", at_home(), &["--jwt-issuer"]);
    refused("--auth jwt --jwt-issuer i --jwt-jwks-file f", at_home(), &["--jwt-audience"]);
    refused("--auth jwt --jwt-issuer= --jwt-audience a --jwt-jwks-file f", at_home(), &["--jwt-issuer"]);
    refused(JWT, at_home(), &["--jwt-jwks-file", "--jwt-jwks-url", "--jwt-public-key", "--jwt-secret-file"]);
    for two in [
        "--jwt-jwks-file f --jwt-jwks-url https://i/keys",
        "--jwt-jwks-file f --jwt-public-key p",
        "--jwt-public-key p --jwt-secret-file s",
    ] {
        refused(&format!("{JWT} {two}"), at_home(), &["exactly one"]);
    }
    refused(&format!("{JWT} --jwt-jwks-file f --jwt-jwks-ca c"), at_home(), &["--jwt-jwks-url"]);
    for one in ["--jwt-jwks-file f", "--jwt-jwks-url https://i/keys --jwt-jwks-ca c", "--jwt-public-key p"] {
        accepted(&format!("{JWT} {one}"), at_home());
    }
}

#[test]
fn a_secret_is_for_hs256_and_hs256_for_nothing_else() {
    accepted(&format!("{JWT} --jwt-algorithms HS256 --jwt-secret-file s"), at_home());
    for mixed in [
        "--jwt-secret-file s",
        "--jwt-algorithms HS256 --jwt-public-key p",
        "--jwt-algorithms HS256 --jwt-jwks-file f",
        "--jwt-algorithms HS256,RS256 --jwt-secret-file s",
        "--jwt-algorithms RS256,HS256 --jwt-jwks-file f",
    ] {
        refused(&format!("{JWT} {mixed}"), at_home(), &["HS256", "--jwt-secret-file"]);
    }
}

#[test]
fn certificates_need_who_issues_them_and_what_they_grant() {
    let mutual = Surroundings { tls: true, client_ca: true, ..outside() };
    accepted("--auth mtls --mtls-principals f", mutual);
    refused("--auth mtls", mutual, &["--mtls-principals"]);
    refused("--auth mtls --mtls-principals f", Surroundings { tls: true, ..outside() }, &["--tls-client-ca"]);
}

#[test]
fn credentials_do_not_cross_a_network_in_plain_text() {
    let jwt = format!("{JWT} --jwt-jwks-file f");
    for bearer in ["--auth api-key", &jwt] {
        accepted(bearer, at_home());
        accepted(bearer, Surroundings { tls: true, ..outside() });
        accepted(&format!("{bearer} --allow-plaintext"), outside());
        refused(bearer, outside(), &["--tls-cert", "--allow-plaintext", "loopback"]);
    }
}

#[test]
fn settings_of_a_mode_that_is_off_are_a_mistake() {
    for (stray, mode) in [
        ("--jwt-issuer i", "jwt"),
        ("--jwt-jwks-file f", "jwt"),
        ("--auth api-key --jwt-secret-file s", "jwt"),
        ("--auth api-key --mtls-principals f", "mtls"),
    ] {
        refused(stray, at_home(), &[mode, "--auth"]);
    }
}

#[test]
fn what_is_no_mode_and_no_algorithm_is_refused() {
    for bad in
        ["--auth none", "--auth=", "--jwt-algorithms none", "--jwt-algorithms RS512", "--jwt-leeway 301"]
    {
        let parsed = Cli::try_parse_from(["crm-backend"].into_iter().chain(bad.split_whitespace()));
        assert!(parsed.is_err(), "{bad}");
    }
}
