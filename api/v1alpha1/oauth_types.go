package v1alpha1

// OAuth says which token a server gets, as "Authorization: Bearer", with every call. Exactly one of clientCredentials, tokenExchange and clientToken is
// given.
//
// +kubebuilder:validation:XValidation:rule=`[has(self.clientCredentials), has(self.tokenExchange), has(self.clientToken) && self.clientToken].filter(given, given).size() == 1`,message="must have exactly one of clientCredentials, tokenExchange and clientToken"
// +kubebuilder:validation:XValidation:rule=`!has(self.discoveryRef) || !has(self.clientCredentials)`,message="is for tokenExchange and clientToken only: the token of clientCredentials reads the lists too",fieldPath=`.discoveryRef`
type OAuth struct {
	// One token for all callers, which the gateway fetches for itself and renews (RFC 6749, section 4.4).
	// +optional
	ClientCredentials *ClientCredentials `json:"clientCredentials,omitempty"`

	// A token for each caller, for which the gateway exchanges the caller's own (RFC 8693).
	// +optional
	TokenExchange *TokenExchange `json:"tokenExchange,omitempty"`

	// True passes each client's own token on to the server, which can then do with it whatever the client could, wherever that token is accepted: for
	// servers that are trusted as much as the gateway itself. The gateway warns of it in its log and in /status.
	// +optional
	ClientToken bool `json:"clientToken,omitempty"`

	// With tokenExchange or clientToken, what the gateway asks the server with what it offers, when no caller is there whose token it could use: a Secret's
	// value, sent as "Authorization: Bearer". Left out: with tokenExchange, a token by client credentials of the same client; with clientToken, nothing.
	// +optional
	DiscoveryRef *SecretReference `json:"discoveryRef,omitempty"`
}

// ClientCredentials is about the token that the gateway gets for itself.
type ClientCredentials struct {
	AuthorizationServer `json:",inline"`
}

// TokenExchange is about the token that the gateway gets for a caller.
type TokenExchange struct {
	AuthorizationServer `json:",inline"`

	// What is asked for as resource (RFC 8707): an absolute URI without a fragment. At most 2048 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[A-Za-z][A-Za-z0-9+.-]*:[^#\\s]+$')`,message="must be an absolute URI without a fragment, as in https://weather.example.com/mcp"
	Resource string `json:"resource,omitempty"`
}

// AuthorizationServer is where tokens are had, and what the gateway is there. Exactly one of tokenURL and issuer is given.
//
// +kubebuilder:validation:XValidation:rule=`has(self.tokenURL) != has(self.issuer)`,message="must have tokenURL (where tokens are had) or issuer (whose metadata name that), and not both"
type AuthorizationServer struct {
	// The token endpoint: an http or https URL without user, password and fragment.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule=`self.matches('^https?://[^/?#@\\s]+(/[^?#\\s]*)?([?][^#\\s]*)?$')`,message="must be an http or https URL without user, password and fragment, as in https://idp.example.com/token"
	TokenURL string `json:"tokenURL,omitempty"`

	// In place of tokenURL: the issuer, exactly as its metadata name it (OpenID Connect Discovery or RFC 8414). An http or https URL without user, password,
	// query and fragment.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule=`self.matches('^https?://[^/?#@\\s]+(/[^?#\\s]*)?$')`,message="must be an http or https URL without user, password, query and fragment, as in https://idp.example.com/realms/mcp"
	Issuer string `json:"issuer,omitempty"`

	// The gateway's name at the authorization server, to which it authenticates by HTTP Basic. At most 2048 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule=`!self.matches('[\\x00-\\x1f\\x7f]')`,message="must not have control characters"
	ClientID string `json:"clientID"`

	// The Secret with the gateway's secret at the authorization server.
	// +required
	ClientSecretRef SecretReference `json:"clientSecretRef"`

	// What is asked for as scope. At most 64.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Scopes []Scope `json:"scopes,omitempty"`

	// What is asked for as audience. At most 2048 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule=`!self.matches('[\\x00-\\x1f\\x7f]')`,message="must not have control characters"
	Audience string `json:"audience,omitempty"`
}

// Scope is one scope of a token.
//
// +kubebuilder:validation:MaxLength=256
// +kubebuilder:validation:XValidation:rule=`self.matches('^[\\x21\\x23-\\x5b\\x5d-\\x7e]+$')`,message="is not one scope: it must have no spaces, quotes, backslashes or characters beyond ASCII"
type Scope string

// SecretReference names a value in a Secret.
type SecretReference struct {
	// The name of a Secret in the MCPServer's namespace. A change of the Secret takes effect without a restart.
	// +required
	Name ObjectName `json:"name"`

	// The key in the Secret's data. Its value is UTF-8 text without control characters, 1 byte to 16 KiB; line breaks at its end are cut off.
	// +optional
	// +kubebuilder:default="token"
	Key DataKey `json:"key,omitempty"`
}
