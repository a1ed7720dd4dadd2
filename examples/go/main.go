// Calls the service from Go.
package main

//go:generate buf generate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	pb "sessions.example/client/sessionsv1"
)

func main() {
	address := "127.0.0.1:50051"
	if given := os.Getenv("SESSIONS_ADDRESS"); given != "" {
		address = given
	}
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err == nil {
		err = run(context.Background(), pb.NewSessionServiceClient(connection))
	}
	if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, client pb.SessionServiceClient) error {
	created, err := client.CreateSession(ctx, &pb.CreateSessionRequest{
		UserId:   "u1",
		Metadata: object("device", "web"),
	})
	if err != nil {
		return err
	}
	id := created.Session.Id

	started, err := client.StartSession(ctx, &pb.StartSessionRequest{SessionId: id})
	if err != nil {
		return err
	}
	fmt.Println("state", started.Session.State)

	message := &pb.Message{Role: "user", Content: "Hello"}
	if _, err := client.AddMessage(ctx, &pb.AddMessageRequest{SessionId: id, Message: message}); err != nil {
		return err
	}
	state := object("current_task", "greeting")
	if _, err := client.SetContext(ctx, &pb.SetContextRequest{SessionId: id, Context: state}); err != nil {
		return err
	}

	history, err := client.GetHistory(ctx, &pb.GetHistoryRequest{SessionId: id})
	if err != nil {
		return err
	}
	for _, message := range history.Messages {
		fmt.Printf("history %s: %s\n", message.Role, message.Content)
	}
	return watch(ctx, client, id)
}

// watch prints the log from its start, then live, until the deletion of the session ends the stream.
func watch(ctx context.Context, client pb.SessionServiceClient, id string) error {
	stream, err := client.Subscribe(ctx, &pb.SubscribeRequest{SessionId: id, AfterSequence: proto.Int64(0)})
	if err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		event := response.GetEvent()
		if event == nil {
			continue // A checkpoint.
		}
		fmt.Println("event", event.Sequence, event.Type)
		if event.Type == pb.EventType_EVENT_TYPE_CONTEXT_CHANGE {
			if _, err := client.DeleteSession(ctx, &pb.DeleteSessionRequest{SessionId: id}); err != nil {
				return err
			}
		}
	}
}

func object(key, text string) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{key: structpb.NewStringValue(text)}}
}
