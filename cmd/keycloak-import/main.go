// Command keycloak-import brings a realm into a Keycloak, as often as it is run: what is missing is made, what differs is set, and the rest stays.
//
//	keycloak-import --url http://keycloak:8080 --realm realm.json
//
// Who may do that is told by the environment: KEYCLOAK_USERNAME and KEYCLOAK_PASSWORD of an administrator, or KEYCLOAK_CLIENT_ID and
// KEYCLOAK_CLIENT_SECRET of a client with a service account. It is a program of its own, in the gateway's image: the gateway knows no identity provider.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/keycloak"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(os.Stderr, "keycloak-import: %v\n", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("keycloak-import", flag.ContinueOnError)
	flags.SetOutput(stderr)
	base := flags.String("url", "", "Keycloak's URL, such as https://keycloak.example.com")
	file := flags.String("realm", "", "the file with the realm, in Keycloak's own format")
	adminRealm := flags.String("admin-realm", "master", "the realm of the administrator")
	patience := flags.Duration("wait", 5*time.Minute, "how long to wait for a Keycloak that doesn't serve yet")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || *file == "" {
		return errors.New("want --url and --realm, and nothing else")
	}
	document, err := os.ReadFile(*file)
	if err != nil {
		return fmt.Errorf("cannot read the realm: %w", err)
	}
	api, err := keycloak.New(*base, keycloak.Admin{
		Realm: *adminRealm, Username: getenv("KEYCLOAK_USERNAME"), Password: getenv("KEYCLOAK_PASSWORD"),
		ClientID: getenv("KEYCLOAK_CLIENT_ID"), ClientSecret: getenv("KEYCLOAK_CLIENT_SECRET"),
	}, &http.Client{Timeout: 30 * time.Second})
	if err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, *patience)
	defer cancel()
	if err := api.Wait(waiting, time.Second); err != nil {
		return err
	}
	changes := 0
	err = api.Import(ctx, document, func(change, kind, name string) {
		changes++
		_, _ = fmt.Fprintf(stdout, "%s %s %q\n", change, kind, name)
	})
	if err != nil {
		return err
	}
	if changes == 0 {
		_, _ = fmt.Fprintln(stdout, "the realm is as it should be")
	}
	return nil
}
