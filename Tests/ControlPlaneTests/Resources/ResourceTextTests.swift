import Documents
import Foundation
import Protobuf
import Testing
import XDS

@testable import ControlPlane

@Test func aDiscoveryResponseAsEnvoyReadsItFromAFileIsRead() throws {
    let text = """
        version_info: "7"
        type_url: type.googleapis.com/envoy.config.cluster.v3.Cluster
        nonce: ignored
        resources:
        - "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
          name: web
          connectTimeout: 0.25s
          type: STRICT_DNS
          lbPolicy: LEAST_REQUEST
        """
    let file = try ParsedFile(Array(text.utf8), path: "cds.yaml", scope: .nodeID("x"))
    let cluster = try #require(file.resources.first)
    #expect(file.resources.count == 1)
    #expect(cluster.resource.name == "web")
    #expect(cluster.resource.type == .cluster)
    #expect(cluster.scope == .nodeID("x"))
    #expect(cluster.origin == .file(path: "cds.yaml", line: 5))
    #expect(cluster.fileLabel == "7")
    // Its own version tells the content, whatever the file's says.
    #expect(cluster.resource.version.count == 32)
}

@Test func aYAMLFileMayHoldSeveralDocumentsAndSingleResources() throws {
    let text = """
        # A comment alone is no document.
        ---
        "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
        name: one
        ---
        resources:
        \(Sample.staticCluster("two"))
        ---
        """
    let file = try ParsedFile(Array(text.utf8), path: "a.yaml", scope: .all)
    #expect(file.resources.map(\.resource.name) == ["one", "two"])
    #expect(file.resources.map(\.origin) == [.file(path: "a.yaml", line: 3), .file(path: "a.yaml", line: 7)])
}

@Test func jsonIsReadByItsOwnRules() throws {
    let text = """
        {"resources": [{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "web"}]}
        """
    #expect(try ParsedFile(Array(text.utf8), path: "a.json", scope: .all).resources.count == 1)
    #expect(problems("{resources: []}", path: "a.json").hasPrefix("a.json:1:2: "))
    #expect(problems("{resources: []}", path: "a.yaml") == "")
}

@Test func anEmptyFileHoldsNothing() throws {
    for text in ["", "---\n", "resources: []", "resources:\n"] { #expect(problems(text) == "") }
}

@Test func theSameTextIsPackedToTheSameBytes() throws {
    let text = Sample.listener("web", routes: "web")
    let one = try Sample.file("a.yaml", .all, text)
    let other = try Sample.file("b.yaml", .all, text)
    #expect(one.resources[0].resource.body == other.resources[0].resource.body)
    #expect(one.resources[0].resource.version == other.resources[0].resource.version)
}

@Test func aWrappedResourceHasItsVersionAliasesAndTimeToLive() throws {
    let text = """
        resources:
        - "@type": type.googleapis.com/envoy.service.discovery.v3.Resource
          name: web
          version: v9
          ttl: 30s
          aliases: [other]
          resource:
            "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
            name: web
        """
    let held = try ParsedFile(Array(text.utf8), path: "a.yaml", scope: .all).resources[0]
    #expect(held.resource.version == "v9")
    #expect(held.resource.timeToLive == .seconds(30))
    #expect(held.resource.aliases == ["other"])
    #expect(held.resource.type == .cluster)
    #expect(
        problems(text.replacing("ttl: 30s", with: "ttl: 0.01s"))
            == "a.yaml:2:3: resources[0].resource: a ttl under 0.1s; write 0.1s or more, or none"
            || problems(text.replacing("ttl: 30s", with: "ttl: 0.01s")).contains("a ttl under 0.1s"))
    #expect(problems(text.replacing("    name: web", with: "    name: web2")).contains("the wrapper around it \"web\""))
    #expect(
        problems(text.replacing("aliases: [other]", with: "cache_control: { do_not_cache: true }")).contains(
            "resources[0].cache_control: is not supported in a wrapped resource; remove it"))
}

/// What is written, and what the user is told.
private let goldenProblems: [(text: String, problem: String)] = [
    (
        "resources:\n- name: web\n",
        "a.yaml:2:3: resources[0]: a resource without \"@type\"; "
            + "add \"@type\": type.googleapis.com/ and the full name of its type"
    ),
    (
        "resources:\n- \"@type\": type.googleapis.com/envoy.config.cluster.v3.Clustr\n",
        "a.yaml:2:12: resources[0].@type: `type.googleapis.com/envoy.config.cluster…` names no type that is "
            + "known here; did you mean `type.googleapis.com/envoy.config.cluster.v3.Cluster`?"
    ),
    (
        Sample.document(Sample.staticCluster("web").replacing("connect_timeout", with: "conect_timeout")),
        "a.yaml:4:5: resources[0]: envoy.config.cluster.v3.Cluster has no field `conect_timeout`; "
            + "did you mean `connect_timeout`?"
    ),
    (
        Sample.document(Sample.staticCluster("web").replacing("1s", with: "1 second")),
        "a.yaml:4:22: resources[0].connect_timeout: expected a duration like 1.5s, found `1 second`; "
            + "write seconds and the letter s: 0.25s, 60s"
    ),
    (
        Sample.document(Sample.staticCluster("\"\"")),
        "a.yaml:3:11: resources[0].name: a resource without a name; give it a name that is not empty and not \"*\""
    ),
    (
        Sample.document(Sample.staticCluster("\"*\"")),
        "a.yaml:3:11: resources[0].name: \"*\" is not allowed as a name; "
            + "give it a name that is not empty and not \"*\""
    ),
    (
        Sample.document(Sample.staticCluster("\"we\\0b\"")),
        "a.yaml:3:11: resources[0].name: a text with a NUL; remove the NUL"
    ),
    (
        Sample.document(Sample.staticCluster("web"), Sample.staticCluster("web")),
        "a.yaml:5:1: CDS \"web\" is defined twice: a.yaml:2 and a.yaml:5; remove or rename one of them"
    ),
    (
        "resource:\n- a\n",
        "a.yaml:1:1: a discovery response has no field `resource` here; "
            + "put resources under `resources:`, or begin a single one with \"@type\":"
    ),
    ("- a\n", "a.yaml:1:1: a document is a mapping; put the list under `resources:`"),
    (
        "resources: { a: b }\n", "a.yaml:1:12: resources: expected a list; begin each resource with `- `"
    ),
    (
        "resources:\n- web\n",
        "a.yaml:2:3: resources[0]: a resource is a mapping; write \"@type\": and its fields"
    ),
    (
        "type_url: type.googleapis.com/envoy.config.listener.v3.Listener\n"
            + Sample.document(Sample.staticCluster("web")),
        "a.yaml:3:5: resources[0]: is not of the type that type_url says; correct type_url at line 1, or remove it"
    ),
    (
        Sample.document(Sample.endpoints("web").replacing("port_value: 80", with: "port_value: 80000")),
        "a.yaml:6:86: resources[0].endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value: is 80000; "
            + "write a number between 0 and 65535"
    ),
    (
        Sample.document(Sample.listener("web", routes: "web").replacing("stat_prefix: web", with: "stat_prefix: ''")),
        "a.yaml:10:28: resources[0].filter_chains[0].filters[0].typed_config.stat_prefix: must not be empty; "
            + "give stat_prefix a value"
    ),
    ("a: [", "a.yaml:1:5: "),
]

@Test(arguments: goldenProblems.indices)
func aMistakeIsToldWithItsPlaceAndTheMend(_ index: Int) {
    let (text, problem) = goldenProblems[index]
    if problem.hasSuffix(": ") {
        #expect(problems(text).hasPrefix("a.yaml:"))
    } else {
        #expect(problems(text) == problem)
    }
}

@Test func aTypeThatIsKnownButNotServedIsRefused() {
    let text = "resources:\n- \"@type\": type.googleapis.com/envoy.config.core.v3.Node\n  id: x\n"
    let problem = problems(text)
    #expect(
        problem.hasPrefix(
            "a.yaml:2:3: resources[0]: envoy.config.core.v3.Node is no type of resource that is served; write one of "))
    #expect(problem.contains("envoy.config.cluster.v3.Cluster"))
}

@Test func allMistakesOfAFileAreToldUpToABound() {
    let three = (0..<3).map { _ in Sample.staticCluster("\"\"") }.joined()
    #expect(problems("resources:\n" + three).split(separator: "\n").count == 3)
    let many = (0..<50).map { _ in Sample.staticCluster("\"\"") }.joined()
    #expect(problems("resources:\n" + many).split(separator: "\n").count == ResourceProblems.limit)
}

@Test func aFileIsBoundedInBytesAndResources() {
    let text = Sample.document(Sample.staticCluster("a"), Sample.staticCluster("b"))
    #expect(
        problems(text, limits: ResourceLimits(fileResources: 1))
            == "a.yaml:1:1: resources: more than 1 resources; split the file into several")
    #expect(
        problems(text, limits: ResourceLimits(fileBytes: 10))
            == "a.yaml: the file has \(text.utf8.count) bytes, 10 are allowed; split it into several")
}

@Test func bytesThatAreNoTextAreRefused() {
    do throws(ResourceProblems) {
        _ = try ParsedFile([0x61, 0xFF], path: "a.yaml", scope: .all)
        Issue.record("accepted")
    } catch {
        #expect(error.description == "a.yaml: the text is not UTF-8; correct the text at this place")
    }
}

@Test func positionsAreFoundThroughListsMapsAndEitherSpelling() throws {
    let node = try DocumentNode.parseYAML("a:\n- bC:\n    'x.y': { z: 1 }\n")[0]
    #expect(node.position(of: "a[0].b_c[\"x.y\"].z") == SourcePosition(line: 3, column: 17))
    #expect(node.position(of: "a[0].b_c.missing.deeper") == SourcePosition(line: 3, column: 5))
    #expect(node.position(of: "a[7].b_c") == SourcePosition(line: 2, column: 1))
}
