//! Settings of the doors of HTTP.

use clap::Args;
use http::Uri;

/// The word for every origin.
pub const ANY_ORIGIN: &str = "*";

/// Who may call over HTTP.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "HTTP")]
pub struct WebSettings {
    /// Origins of web pages whose scripts may call, as in `https://app.example.com`; `*` for all. None by default.
    ///
    /// `/mcp` has origins of its own (--mcp-origins).
    #[arg(long, env = "CRM_CORS_ORIGINS", value_delimiter = ',', value_name = "ORIGIN,…", value_parser = origin)]
    pub cors_origins: Vec<String>,
}

/// Parses an origin as browsers write it.
fn origin(text: &str) -> Result<String, String> {
    let text = text.trim().to_ascii_lowercase();
    let is_origin = text.parse::<Uri>().is_ok_and(|uri| {
        let (scheme, authority) = (uri.scheme_str().unwrap_or_default(), uri.authority());
        authority.is_some_and(|authority| {
            text == format!("{scheme}://{authority}") && !authority.as_str().contains('@')
        })
    });
    match is_origin || text == ANY_ORIGIN {
        true => Ok(text),
        false => {
            Err("must be the origin of a page, such as https://app.example.com, without a path; or *"
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_as_browsers_write_it() {
        for text in ["https://app.example.com", "http://localhost:5173", "http://[::1]:80", "*"] {
            assert_eq!(origin(text).as_deref(), Ok(text));
        }
        assert_eq!(origin(" HTTPS://App.example.com").as_deref(), Ok("https://app.example.com"));
        for text in
            ["app.example.com", "https://app.example.com/", "https://a@b.example", "null", "", "https://"]
        {
            assert!(origin(text).is_err_and(|error| error.contains("https://app.example.com")), "{text}");
        }
    }
}
