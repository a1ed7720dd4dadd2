package example;

import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import sessions.v1.SessionServiceGrpc;
import sessions.v1.SessionServiceGrpc.SessionServiceBlockingStub;
import sessions.v1.Sessions.AddMessageRequest;
import sessions.v1.Sessions.CreateSessionRequest;
import sessions.v1.Sessions.DeleteSessionRequest;
import sessions.v1.Sessions.Event;
import sessions.v1.Sessions.EventType;
import sessions.v1.Sessions.GetHistoryRequest;
import sessions.v1.Sessions.Message;
import sessions.v1.Sessions.SetContextRequest;
import sessions.v1.Sessions.StartSessionRequest;
import sessions.v1.Sessions.SubscribeRequest;

/** Calls the service from Java. */
public final class Main {
  public static void main(String[] arguments) {
    String address = System.getenv().getOrDefault("SESSIONS_ADDRESS", "127.0.0.1:50051");
    ManagedChannel channel =
        Grpc.newChannelBuilder(address, InsecureChannelCredentials.create()).build();
    try {
      run(SessionServiceGrpc.newBlockingStub(channel));
    } finally {
      channel.shutdownNow();
    }
  }

  private static void run(SessionServiceBlockingStub client) {
    CreateSessionRequest create =
        CreateSessionRequest.newBuilder()
            .setUserId("u1")
            .setMetadata(object("device", "web"))
            .build();
    String id = client.createSession(create).getSession().getId();

    StartSessionRequest start = StartSessionRequest.newBuilder().setSessionId(id).build();
    System.out.println("state " + client.startSession(start).getSession().getState());

    Message message = Message.newBuilder().setRole("user").setContent("Hello").build();
    client.addMessage(
        AddMessageRequest.newBuilder().setSessionId(id).setMessage(message).build());
    Struct context = object("current_task", "greeting");
    client.setContext(
        SetContextRequest.newBuilder().setSessionId(id).setContext(context).build());

    GetHistoryRequest history = GetHistoryRequest.newBuilder().setSessionId(id).build();
    for (Message each : client.getHistory(history).getMessagesList()) {
      System.out.println("history " + each.getRole() + ": " + each.getContent());
    }
    watch(client, id);
  }

  /** Prints the log from its start, then live, until the deletion of the session ends the stream. */
  private static void watch(SessionServiceBlockingStub client, String id) {
    SubscribeRequest all =
        SubscribeRequest.newBuilder().setSessionId(id).setAfterSequence(0).build();
    client
        .subscribe(all)
        .forEachRemaining(
            response -> {
              if (!response.hasEvent()) {
                return; // A checkpoint.
              }
              Event event = response.getEvent();
              System.out.println("event " + event.getSequence() + " " + event.getType());
              if (event.getType() == EventType.EVENT_TYPE_CONTEXT_CHANGE) {
                client.deleteSession(DeleteSessionRequest.newBuilder().setSessionId(id).build());
              }
            });
  }

  private static Struct object(String key, String text) {
    return Struct.newBuilder()
        .putFields(key, Value.newBuilder().setStringValue(text).build())
        .build();
  }
}
