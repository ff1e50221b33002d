package main

import (
	"debug/buildinfo"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// The parts of an SPDX 2.3 document that are used.
type (
	spdxDocument struct {
		SPDXVersion       string             `json:"spdxVersion"`
		DataLicense       string             `json:"dataLicense"`
		SPDXID            string             `json:"SPDXID"`
		Name              string             `json:"name"`
		DocumentNamespace string             `json:"documentNamespace"`
		CreationInfo      spdxCreation       `json:"creationInfo"`
		Packages          []spdxPackage      `json:"packages"`
		Files             []spdxFile         `json:"files"`
		Relationships     []spdxRelationship `json:"relationships"`
	}
	spdxCreation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		SPDXID           string         `json:"SPDXID"`
		Name             string         `json:"name"`
		VersionInfo      string         `json:"versionInfo,omitempty"`
		DownloadLocation string         `json:"downloadLocation"`
		FilesAnalyzed    bool           `json:"filesAnalyzed"`
		Checksums        []spdxChecksum `json:"checksums,omitempty"`
		ExternalRefs     []spdxRef      `json:"externalRefs,omitempty"`
	}
	spdxFile struct {
		SPDXID    string         `json:"SPDXID"`
		FileName  string         `json:"fileName"`
		Checksums []spdxChecksum `json:"checksums"`
	}
	spdxChecksum struct {
		Algorithm     string `json:"algorithm"`
		ChecksumValue string `json:"checksumValue"`
	}
	spdxRef struct {
		ReferenceCategory string `json:"referenceCategory"`
		ReferenceType     string `json:"referenceType"`
		ReferenceLocator  string `json:"referenceLocator"`
	}
	spdxRelationship struct {
		SPDXElementID      string `json:"spdxElementId"`
		RelationshipType   string `json:"relationshipType"`
		RelatedSPDXElement string `json:"relatedSpdxElement"`
	}
)

const imageID = "SPDXRef-image"

// spdx lists what is in the image: each file with its checksum; for each Go program the modules that it says it is made of, and its Go;
// and the parts that were named.
func spdx(o options, c *content, tag name.Tag, digest v1.Hash) (*spdxDocument, error) {
	locator := fmt.Sprintf("pkg:oci/%s@%s?arch=%s&repository_url=%s", lastOf(tag.RepositoryStr()), digest, c.platform.Architecture, tag.Context().Name())
	d := &spdxDocument{
		SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0", SPDXID: "SPDXRef-DOCUMENT", Name: tag.Name() + " " + c.platform.String(),
		DocumentNamespace: fmt.Sprintf("https://spdx.org/spdxdocs/%s-%s", lastOf(tag.RepositoryStr()), digest.Hex),
		CreationInfo:      spdxCreation{Created: epoch(o.created).Format(time.RFC3339), Creators: []string{"Tool: mcp-gateway-image"}},
		Packages: []spdxPackage{{
			SPDXID: imageID, Name: tag.Context().Name(), VersionInfo: digest.String(), DownloadLocation: "NOASSERTION",
			Checksums: []spdxChecksum{{"SHA256", digest.Hex}}, ExternalRefs: purl(locator),
		}},
	}
	d.relate(d.SPDXID, "DESCRIBES", imageID)
	for i, to := range slices.Sorted(maps.Keys(c.files)) {
		if err := d.addFile(fmt.Sprintf("SPDXRef-file-%d", i), to, c.files[to]); err != nil {
			return nil, fmt.Errorf("%q: %w", to, err)
		}
	}
	for _, p := range c.parts {
		d.addPackage(imageID, p.name, p.version, purl("pkg:generic/"+p.name+"@"+p.version))
	}
	return d, nil
}

func (d *spdxDocument) addFile(id, to string, from source) error {
	if from.folder {
		return nil
	}
	sum, err := from.sum()
	if err != nil {
		return err
	}
	d.Files = append(d.Files, spdxFile{SPDXID: id, FileName: "." + to, Checksums: []spdxChecksum{{"SHA256", sum}}})
	d.relate(imageID, "CONTAINS", id)
	if from.path == "" {
		return nil
	}
	info, err := buildinfo.ReadFile(from.path)
	if err != nil {
		return nil //nolint:nilerr // it isn't a Go program
	}
	d.addPackage(id, "stdlib", strings.TrimPrefix(info.GoVersion, "go"), purl("pkg:golang/stdlib@"+strings.TrimPrefix(info.GoVersion, "go")))
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		d.addPackage(id, m.Path, m.Version, purl("pkg:golang/"+m.Path+"@"+m.Version))
	}
	return nil
}

// addPackage adds a package, once, and that the other is made of it.
func (d *spdxDocument) addPackage(of, what, version string, refs []spdxRef) {
	id := ""
	for _, p := range d.Packages {
		if p.Name == what && p.VersionInfo == version {
			id = p.SPDXID
		}
	}
	if id == "" {
		id = fmt.Sprintf("SPDXRef-package-%d", len(d.Packages))
		d.Packages = append(d.Packages, spdxPackage{SPDXID: id, Name: what, VersionInfo: version, DownloadLocation: "NOASSERTION", ExternalRefs: refs})
	}
	d.relate(of, "DEPENDS_ON", id)
}

func (d *spdxDocument) relate(a, how, b string) {
	d.Relationships = append(d.Relationships, spdxRelationship{a, how, b})
}

func purl(locator string) []spdxRef { return []spdxRef{{"PACKAGE-MANAGER", "purl", locator}} }

func lastOf(repository string) string { return repository[strings.LastIndexByte(repository, '/')+1:] }

// epoch is the time, or 1970 where none was given.
func epoch(t time.Time) time.Time {
	if t.IsZero() {
		return time.Unix(0, 0).UTC()
	}
	return t
}
