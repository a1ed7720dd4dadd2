//! Calls the service from Rust.

use std::env;
use std::error::Error;

use prost_types::{Struct, Value, value::Kind};
use tonic::transport::Channel;

use sessions_v1::session_service_client::SessionServiceClient;
use sessions_v1::subscribe_response::Response;
use sessions_v1::*;

mod sessions_v1 {
    tonic::include_proto!("sessions.v1");
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let address = env::var("SESSIONS_ADDRESS").unwrap_or("127.0.0.1:50051".into());
    let mut client = SessionServiceClient::connect(format!("http://{address}")).await?;

    let request = CreateSessionRequest {
        user_id: "u1".into(),
        metadata: Some(object("device", "web")),
        ..Default::default()
    };
    let created = client.create_session(request).await?.into_inner();
    let session_id = created.session.ok_or("no session in the response")?.id;

    let request = StartSessionRequest {
        session_id: session_id.clone(),
        ..Default::default()
    };
    let started = client.start_session(request).await?.into_inner();
    println!(
        "state {}",
        started.session.unwrap_or_default().state().as_str_name()
    );

    let message = Message {
        role: "user".into(),
        content: "Hello".into(),
        ..Default::default()
    };
    let request = AddMessageRequest {
        session_id: session_id.clone(),
        message: Some(message),
        ..Default::default()
    };
    client.add_message(request).await?;

    let request = SetContextRequest {
        session_id: session_id.clone(),
        context: Some(object("current_task", "greeting")),
        ..Default::default()
    };
    client.set_context(request).await?;

    let request = GetHistoryRequest {
        session_id: session_id.clone(),
        ..Default::default()
    };
    for message in client.get_history(request).await?.into_inner().messages {
        println!("history {}: {}", message.role, message.content);
    }
    watch(client, session_id).await
}

/// Prints the log from its start, then live, until the deletion of the session ends the stream.
async fn watch(mut client: SessionServiceClient<Channel>, session_id: String) -> Result<()> {
    let request = SubscribeRequest {
        session_id: session_id.clone(),
        after_sequence: Some(0),
        ..Default::default()
    };
    let mut stream = client.subscribe(request).await?.into_inner();
    while let Some(response) = stream.message().await? {
        let Some(Response::Event(event)) = response.response else {
            continue; // A checkpoint.
        };
        println!("event {} {}", event.sequence, event.r#type().as_str_name());
        if event.r#type() == EventType::ContextChange {
            let request = DeleteSessionRequest {
                session_id: session_id.clone(),
                ..Default::default()
            };
            client.delete_session(request).await?;
        }
    }
    Ok(())
}

fn object(key: &str, text: &str) -> Struct {
    let value = Value {
        kind: Some(Kind::StringValue(text.into())),
    };
    Struct {
        fields: [(key.into(), value)].into(),
    }
}
