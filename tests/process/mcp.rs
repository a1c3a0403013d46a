//! `mcp`: the tools on standard streams, as clients that start programs use them.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use crm_testkit::{Ended, Scratch, Server, command, run};
use serde_json::{Value, json};
use uuid::Uuid;

use super::http::ask;
use super::metrics::Scraped;
use super::scratch;

/// The program as its client sees it.
struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    log: JoinHandle<String>,
}

impl Session {
    fn start(scratch: &Scratch, arguments: &[&str]) -> Self {
        let mut command: Command = command(scratch, &[&["mcp"], arguments].concat());
        let mut child = command.stdin(Stdio::piped()).spawn().expect("the program starts");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut stderr = child.stderr.take().expect("a pipe");
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).expect("letters");
            log
        });
        let mut session = Self { child, input, output, log };
        let client = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let hello = session.ask("initialize", client);
        assert_eq!(hello["result"]["serverInfo"]["name"], "crm-backend", "{hello}");
        session.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        session
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.input, "{message}").expect("the program reads");
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.send(&json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}));
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the program writes");
        let answer: Value = serde_json::from_str(&line).expect("a message, and nothing else");
        assert_eq!(answer["id"], 7, "{answer}");
        answer
    }

    fn call(&mut self, tool: &str, arguments: Value) -> (bool, String) {
        let answer = self.ask("tools/call", json!({"name": tool, "arguments": arguments}));
        let result = &answer["result"];
        (result["isError"] == true, result["content"][0]["text"].as_str().expect("a text").to_owned())
    }

    fn tools(&mut self) -> usize {
        self.ask("tools/list", json!({}))["result"]["tools"].as_array().expect("tools").len()
    }

    /// Closes its input, and returns its log. Its output has nothing more.
    fn end(self) -> String {
        let Self { mut child, input, mut output, log } = self;
        drop(input);
        let mut rest = String::new();
        output.read_to_string(&mut rest).expect("letters");
        assert_eq!(rest, "");
        let (status, log) = (child.wait().expect("it ends"), log.join().expect("no panic"));
        assert!(status.success(), "{log}");
        log
    }
}

fn key(scratch: &Scratch, tenant: Uuid, scopes: &str) -> String {
    let (tenant, data_dir) = (tenant.to_string(), scratch.data_dir());
    let data_dir = data_dir.to_str().expect("letters");
    let arguments = [
        "keys",
        "create",
        "--name",
        "agent",
        "--tenants",
        &tenant,
        "--scopes",
        scopes,
        "--data-dir",
        data_dir,
    ];
    let ended: Ended = run(scratch, &arguments);
    ended.succeeded();
    let path = scratch.path(&format!("{scopes}.key"));
    std::fs::write(&path, ended.stdout).expect("written");
    path.to_str().expect("letters").to_owned()
}

#[test]
fn tools_on_standard_streams_call_a_server_with_one_key() {
    let (scratch, tenant) = (scratch(), Uuid::new_v4());
    let data_dir = scratch.data_dir();
    let data_dir = data_dir.to_str().expect("letters");
    let server = Server::start_with(&scratch, &["--data-dir", data_dir, "--auth", "api-key"]);
    let url = format!("http://{}", server.address);
    let (all, read) = (key(&scratch, tenant, "read,write"), key(&scratch, tenant, "read"));
    let tenant = tenant.to_string();
    let session = |key: &str| {
        Session::start(
            &scratch,
            &["--url", &url, "--tenant", &tenant, "--api-key-file", key, "--log", "trace"],
        )
    };

    let mut agent = session(&all);
    assert_eq!(agent.tools(), 11);
    let (failed, saved) = agent.call("save_customer", json!({"business_name": "Café Zoë"}));
    assert!(!failed && saved.contains("`cafe-zoe`"), "{saved}");
    let (log, secret) = (agent.end(), std::fs::read_to_string(&all).expect("the key"));
    assert!(log.contains("TRACE") && !log.contains("Zoë") && !log.contains(secret.trim()), "{log}");

    let mut agent = session(&read);
    assert_eq!(agent.tools(), 5, "a key sees the tools of its scopes");
    assert_eq!(agent.call("find_customers", json!({})), (false, "- `cafe-zoe`: Café Zoë · lead".to_owned()));
    let (failed, text) = agent.call("save_customer", json!({"business_name": "Other"}));
    assert!(failed && text.contains("SCOPE_NOT_GRANTED"), "{text}");
    server.terminate().succeeded();
    let (failed, text) = agent.call("find_customers", json!({}));
    assert!(failed && text.starts_with("The CRM service did not answer"), "{text}");
    agent.end();
}

#[test]
fn a_server_that_is_away_leaves_all_tools_and_an_error_that_says_so() {
    let scratch = scratch();
    let mut agent = Session::start(&scratch, &["--url", "http://127.0.0.1:9"]);
    assert_eq!(agent.tools(), 11);
    let (failed, text) = agent.call("find_customers", json!({}));
    assert!(failed && text.contains("did not answer") && text.contains("refused"), "{text}");
    agent.end();
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let scratch = scratch();
    for (arguments, mentions) in [
        (["--url", "crm.example.com"], ["--url", "https://crm.example.com"]),
        (["--tenant", "one"], ["--tenant", "UUID"]),
        (["--api-key-file", "/nowhere/key"], ["--api-key-file", "may read"]),
    ] {
        run(&scratch, &[&["mcp"], arguments.as_slice()].concat()).refused(&mentions);
    }
}

/// A call of a tool is counted as the calls that it makes. The request around it is counted too, also one without any.
#[test]
fn requests_over_http_are_counted_and_have_a_line() {
    let (scratch, tenant) = (scratch(), Uuid::new_v4());
    let scraped = Scraped::start(&scratch);
    let tenant = format!("x-tenant-id: {tenant}");
    let headers = ["content-type: application/json", &tenant];
    let ask = |body: &str| ask(scraped.server.address, "POST /mcp", &headers, body).0;
    assert_eq!(ask(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string()), 200);
    let call = json!({"name": "find_customers", "arguments": {}});
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call});
    assert_eq!(ask(&call.to_string()), 200);
    assert_eq!(ask("nonsense"), 400);
    let scrape = scraped.scrape();
    let handled = |service: &str, method: &str, code: &str| {
        let series = format!(
            "grpc_server_handled_total{{grpc_type=\"unary\",grpc_service=\"{service}\",grpc_method=\"{method}\",\
             grpc_code=\"{code}\"}}"
        );
        scrape.value(&series)
    };
    assert_eq!(handled("mcp", "mcp", "OK"), Some(2.0));
    assert_eq!(handled("mcp", "mcp", "InvalidArgument"), Some(1.0));
    assert_eq!(handled("crm.v1.CustomerService", "ListCustomers", "OK"), Some(1.0));
    let took = "rpc_server_call_duration_seconds_count{rpc_system_name=\"jsonrpc\",rpc_method=\"mcp\",\
                rpc_status_code=\"OK\",error_type=\"\"}";
    assert_eq!(scrape.value(took), Some(2.0), "{}", scrape.text());
    let ended = scraped.server.terminate();
    ended.succeeded();
    let lines = ended.stderr.lines().filter(|line| line.contains("\"method\":\"mcp\""));
    let codes: Vec<_> =
        lines.map(|line| serde_json::from_str::<Value>(line).expect(line)["code"].clone()).collect();
    assert_eq!(codes, ["OK", "OK", "INVALID_ARGUMENT"]);
}
