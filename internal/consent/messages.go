package consent

import "net/http"

// What the pages say. None of it tells of a server or of another user.
//
//nolint:gochecknoglobals // constant texts
var (
	messageStored = message{
		Status: http.StatusOK, Title: "Stored", Text: "You can close this window and go back to your application, which can make its call now.",
		Link: Path, LinkText: "See and revoke what you have stored",
	}
	messageGone = message{
		Status: http.StatusGone, Title: "This link is no longer good",
		Text: "It has been used, or it is older than ten minutes. Let your application try again: it will get a new one.",
		Link: Path, LinkText: "See what you have stored",
	}
	messageOther = message{
		Status: http.StatusForbidden, Title: "This link is for somebody else",
		Text: "It was made for another user than the one you are logged in as. If somebody sent it to you, do not use it. " +
			"If your application uses another account of yours, log out and log in with that.",
	}
	messageForged = message{
		Status: http.StatusForbidden, Title: "This did not come from a page of the gateway",
		Text: "Nothing was changed. Open the page again and send it from there.",
	}
	messageExpired = message{
		Status: http.StatusUnauthorized, Title: "You are no longer logged in",
		Text: "Nothing was changed. Open the link of your application again.", Link: Path, LinkText: "See what you have stored",
	}
	messageTooLarge = message{
		Status: http.StatusRequestEntityTooLarge, Title: "This is too large", Text: "Nothing was changed. No credential is that long.",
	}
	messageTooOften = message{
		Status: http.StatusTooManyRequests, Title: "Too many attempts", Text: "Wait ten minutes, then open the page again.",
	}
	messageNotWanted = message{
		Status: http.StatusGone, Title: "This is no longer needed", Text: "The server asks no user for a credential any more. You can close this window.",
	}
	messageLeft = message{
		Status: http.StatusOK, Title: "You are logged out here", Text: "Close this window, or log in as another user.",
	}
	messageLoginUnknown = message{
		Status: http.StatusBadRequest, Title: "This login was not begun here",
		Text: "It was begun in another window, is over, or took too long. Open the link of your application again.",
	}
	messageLoginFailed = message{
		Status: http.StatusForbidden, Title: "You are not logged in", Text: "The login was not completed. Nothing was changed.",
	}
	messageIssuerDown = message{
		Status: http.StatusBadGateway, Title: "Nobody can log in at the moment", Text: "The login service cannot be reached. Try again later.",
	}
	messageOff = message{
		Status: http.StatusServiceUnavailable, Title: "There is no login", Text: "The gateway has no authentication at the moment, so that nobody can give credentials.",
	}
	messageBusy = message{
		Status: http.StatusServiceUnavailable, Title: "Too many people log in at once", Text: "Try again in a minute.",
	}
	messageFull = message{
		Status: http.StatusInsufficientStorage, Title: "No more credentials can be stored",
		Text: "Revoke one that you no longer need, or ask whoever operates the gateway.", Link: Path, LinkText: "See and revoke what you have stored",
	}
	messageBroken = message{
		Status: http.StatusInternalServerError, Title: "Something went wrong", Text: "Nothing was changed. Try again, or ask whoever operates the gateway.",
	}
	messageNothing = message{Status: http.StatusNotFound, Title: "There is no such page", Text: "Open the link of your application again.", Link: Path, LinkText: "See what you have stored"}
)
