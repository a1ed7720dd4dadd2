#!/usr/bin/env bash
# Rust, tonic: a deadline does not end a stream that has begun, and a call that exceeds it is CANCELLED.
#
# One would expect `Request::set_timeout`, "the max duration the request is allowed to take", to be gRPC's deadline: in
# C++, Go, Java and Python it holds for the whole call, and its end is DEADLINE_EXCEEDED. In tonic both the client and
# the server apply it only until the response's headers have come. A stream whose server has fallen silent therefore
# never ends, nor does the server stop working for it, and the same goes for `Endpoint::timeout` and `Server::timeout`.
# A call without a stream does end, but as CANCELLED, which says that the caller gave up: retry policies leave it out,
# and servers and dashboards do not count it as a failure. Put `tokio::time::timeout` around each read of a stream, and
# treat CANCELLED with "Timeout expired" as a deadline. Needs cargo; compiles for a minute or two.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "program"
version = "1.0.0"
edition = "2024"

[dependencies]
tokio = { version = "=1.54.1", features = ["macros", "net", "rt", "time"] }
tokio-stream = { version = "=0.1.19", features = ["net"] }
tonic = { version = "=0.14.9", default-features = false, features = ["codegen", "router", "transport"] }
tonic-prost = "=0.14.9"
TOML
cat > src/main.rs <<'RUST'
use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, Ready, pending, ready};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{NamedService, ServerStreamingService, UnaryService};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

const DEADLINE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(5);

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Messages = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

/// `Get` never returns; `Follow` sends one message, and then nothing.
#[derive(Clone)]
struct Silent;

impl NamedService for Silent {
    const NAME: &'static str = "test";
}

impl UnaryService<String> for Silent {
    type Response = String;
    type Future = Pending<Result<Response<String>, Status>>;

    fn call(&mut self, _: Request<String>) -> Self::Future {
        Box::pin(pending())
    }
}

impl ServerStreamingService<String> for Silent {
    type Response = String;
    type ResponseStream = Messages;
    type Future = Ready<Result<Response<Messages>, Status>>;

    fn call(&mut self, _: Request<String>) -> Self::Future {
        let first = tokio_stream::once(Ok("first".to_string()));
        ready(Ok(Response::new(Box::pin(first.chain(tokio_stream::pending())))))
    }
}

impl Service<http::Request<Body>> for Silent {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pending<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut server = tonic::server::Grpc::new(ProstCodec::default());
            Ok(match request.uri().path() {
                "/test/Get" => server.unary(Silent, request).await,
                _ => server.server_streaming(Silent, request).await,
            })
        })
    }
}

fn request() -> Request<String> {
    let mut request = Request::new(String::new());
    request.set_timeout(DEADLINE);
    request
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    tokio::spawn(Server::builder().add_service(Silent).serve_with_incoming(TcpListenerStream::new(listener)));
    let mut client = tonic::client::Grpc::new(Endpoint::from_shared(address)?.timeout(DEADLINE).connect().await?);
    let codec = ProstCodec::<String, String>::default;

    client.ready().await?;
    let error = client.unary(request(), "/test/Get".parse()?, codec()).await.unwrap_err();
    println!("a call with a deadline of {DEADLINE:?}: {:?}, {:?}", error.code(), error.message());

    client.ready().await?;
    let mut stream = client.server_streaming(request(), "/test/Follow".parse()?, codec()).await?.into_inner();
    println!("a stream with the same: {:?}", stream.message().await?);
    match timeout(PATIENCE, stream.message()).await {
        Ok(end) => println!("  ended: {end:?}"),
        Err(_) => println!("  {PATIENCE:?} later: still open"),
    }
    Ok(())
}
RUST
CARGO_TARGET_DIR="$folder/target" cargo build --quiet
grep -A1 '^name = "tonic"' Cargo.lock | tr '\n' ' '
echo
seen=$(target/debug/program)
echo "$seen"
expected='a call with a deadline of 500ms: Cancelled, "Timeout expired"
a stream with the same: Some("first")
  5s later: still open'
[ "$seen" = "$expected" ] || { echo "This has changed; expected:"; echo "$expected"; exit 1; }
