import Testing
import XDS

@testable import ControlPlane

@Test func aFilesResourcesAreReplacedAsAWhole() throws {
    var catalog = ResourceCatalog()
    let first = try catalog.replaceFile(
        Sample.file("a.yaml", .all, Sample.staticCluster("one"), Sample.staticCluster("two")))
    #expect(first.words == ["+CDS one", "+CDS two"])
    #expect(first.addedScopes == [.all])
    let second = try catalog.replaceFile(
        Sample.file("a.yaml", .all, Sample.staticCluster("two", timeout: "2s"), Sample.staticCluster("three")))
    #expect(second.words == ["-CDS one", "+CDS three", "~CDS two"])
    #expect(catalog.keys() == ["CDS three", "CDS two"])
    let third = catalog.removeFile("a.yaml")
    #expect(third.words == ["-CDS three", "-CDS two"])
    #expect(third.removedScopes == [.all])
    #expect(catalog.count == 0)
    #expect(catalog.removeFile("a.yaml").entries.isEmpty)
}

@Test func theSameTextAgainIsNoChangeEvenWhereLinesMoved() throws {
    var catalog = ResourceCatalog()
    _ = try catalog.replaceFile(Sample.file("a.yaml", .all, Sample.staticCluster("one"), Sample.staticCluster("two")))
    let body = catalog.resource(ResourceReference(.cluster, "two"), in: .all)?.resource
    let change = try catalog.replaceFile(
        Sample.file("a.yaml", .all, Sample.staticCluster("two"), Sample.staticCluster("one")))
    #expect(change.isEmpty)
    let held = try #require(catalog.resource(ResourceReference(.cluster, "two"), in: .all))
    #expect(held.origin == .file(path: "a.yaml", line: 2))
    #expect(held.resource === body)
}

@Test func twoFilesWithOneNameAreRefusedAndBothPlacesAreNamed() throws {
    var catalog = ResourceCatalog()
    _ = try catalog.replaceFile(Sample.file("a.yaml", .all, Sample.staticCluster("web")))
    let before = catalog.keys()
    do throws(CatalogError) {
        _ = try catalog.replaceFile(
            try! Sample.file("b.yaml", .all, Sample.staticCluster("other"), Sample.staticCluster("web")))
        Issue.record("accepted")
    } catch {
        #expect("\(error)" == "CDS \"web\" is defined twice: a.yaml:2 and b.yaml:5")
        #expect(error.hint == "remove or rename one of them")
    }
    #expect(catalog.keys() == before)
    #expect(!catalog.holdsFile("b.yaml"))
}

@Test func whatOneProxyMaySeeTwiceIsRefusedAndWhatItCannotIsNot() throws {
    func conflict(_ one: Scope, _ other: Scope) throws -> String? {
        var catalog = ResourceCatalog()
        _ = try catalog.replaceFile(Sample.file("a.yaml", one, Sample.staticCluster("web")))
        let file = try Sample.file("b.yaml", other, Sample.staticCluster("web"))
        do throws(CatalogError) {
            _ = try catalog.replaceFile(file)
            return nil
        } catch {
            return "\(error); \(error.hint)"
        }
    }
    #expect(
        try conflict(.all, .nodeID("x"))
            == "CDS \"web\" is defined twice: a.yaml:2 (for all) and b.yaml:2 (for node-id=x); "
            + "remove or rename one of them: a proxy may be in both scopes")
    #expect(try conflict(.nodeID("x"), .all) != nil)
    #expect(try conflict(.nodeCluster("c"), .nodeID("x")) != nil)
    #expect(try conflict(.nodeCluster("c"), .nodeCluster("c")) != nil)
    #expect(try conflict(.nodeCluster("c"), .nodeCluster("d")) == nil)
    #expect(try conflict(.nodeID("x"), .nodeID("y")) == nil)
}

@Test func anAliasIsANameToo() throws {
    let wrapped = """
          - "@type": type.googleapis.com/envoy.service.discovery.v3.Resource
            aliases: [web]
            resource: { "@type": \(Sample.types)cluster.v3.Cluster, name: other }

        """
    var catalog = ResourceCatalog()
    _ = try catalog.replaceFile(Sample.file("a.yaml", .all, wrapped))
    #expect(throws: CatalogError.self) {
        try catalog.replaceFile(Sample.file("b.yaml", .all, Sample.staticCluster("web")))
    }
    #expect(catalog.resource(ResourceReference(.cluster, "web"), in: .all)?.resource.name == "other")
    // What refers to an alias refers to something that is there.
    _ = try catalog.replaceFile(Sample.file("r.yaml", .all, Sample.routes("r", to: ["web"])))
    #expect(catalog.findings.filter { $0.kind == .missing }.isEmpty)
    _ = catalog.removeFile("a.yaml")
    #expect(catalog.findings.filter { $0.kind == .missing }.count == 1)
}

@Test func aResourceMayMoveBetweenFilesInOneStep() throws {
    var catalog = ResourceCatalog()
    _ = try catalog.replaceFile(Sample.file("b.yaml", .all, Sample.staticCluster("web"), Sample.staticCluster("x")))
    let (change, refused) = catalog.replaceFiles(
        [
            try Sample.file("a.yaml", .all, Sample.staticCluster("web")),
            try Sample.file("b.yaml", .all, Sample.staticCluster("x")),
        ], removing: [])
    #expect(refused.isEmpty)
    #expect(change.isEmpty)
    #expect(catalog.resource(ResourceReference(.cluster, "web"), in: .all)?.origin.path == "a.yaml")
}

@Test func ofFilesThatExcludeEachOtherTheLaterOneKeepsWhatItHad() throws {
    var catalog = ResourceCatalog()
    _ = try catalog.replaceFile(Sample.file("b.yaml", .all, Sample.staticCluster("old")))
    let (change, refused) = catalog.replaceFiles(
        [
            try Sample.file("b.yaml", .all, Sample.staticCluster("web")),
            try Sample.file("a.yaml", .all, Sample.staticCluster("web")),
            try Sample.file("c.yaml", .all, Sample.staticCluster("fine")),
        ], removing: [])
    #expect(refused.keys.sorted() == ["b.yaml"])
    #expect(change.words == ["+CDS fine", "+CDS web"])
    #expect(catalog.keys() == ["CDS fine", "CDS old", "CDS web"])
}

@Test func aFileThatKeepsWhatItHadMayStandInTheWayOfAnother() throws {
    var catalog = ResourceCatalog()
    _ = try catalog.replaceFile(Sample.file("a.yaml", .all, Sample.staticCluster("one")))
    _ = try catalog.replaceFile(Sample.file("c.yaml", .all, Sample.staticCluster("two")))
    // a gives up `one` for `two`, which c holds; b would take `one`.
    let (change, refused) = catalog.replaceFiles(
        [
            try Sample.file("a.yaml", .all, Sample.staticCluster("two")),
            try Sample.file("b.yaml", .all, Sample.staticCluster("one")),
        ], removing: [])
    #expect(refused.keys.sorted() == ["a.yaml", "b.yaml"])
    #expect(change.isEmpty)
    #expect(catalog.keys() == ["CDS one", "CDS two"])
}

@Test func whatIsAppliedIsAddedReplacedAndRemovedByName() throws {
    var catalog = ResourceCatalog()
    let first = try catalog.apply(
        Sample.application(.all, Sample.staticCluster("one"), Sample.staticCluster("two"), label: "v1"))
    #expect(first.words == ["+CDS one", "+CDS two"])
    #expect(first.entries.map(\.version) == ["v1", "v1"])
    let second = try catalog.apply(
        Sample.application(
            .all, Sample.staticCluster("one"), Sample.staticCluster("three"), label: "v2",
            removing: [ResourceReference(.cluster, "two")]))
    #expect(second.words == ["+CDS three", "-CDS two"])
    // What has not changed keeps its version.
    #expect(second.entries.map { "\($0.kind) \($0.version)" } == ["unchanged v1", "added v2", "removed v1"])
    let third = try catalog.apply(Sample.application(.all, Sample.staticCluster("three"), replacesAll: true))
    #expect(third.words == ["-CDS one"])
}

@Test func replaceAllLeavesFilesAndOtherScopesAlone() throws {
    var catalog = ResourceCatalog()
    _ = try catalog.replaceFile(Sample.file("a.yaml", .all, Sample.staticCluster("file")))
    _ = try catalog.apply(Sample.application(.all, Sample.staticCluster("old")))
    _ = try catalog.apply(Sample.application(.nodeID("x"), Sample.staticCluster("mine")))
    let change = try catalog.apply(Sample.application(.all, Sample.staticCluster("new"), replacesAll: true))
    #expect(change.words == ["+CDS new", "-CDS old"])
    #expect(catalog.keys() == ["CDS file", "CDS new"])
    #expect(catalog.keys(.nodeID("x")) == ["CDS mine"])
}

@Test func anApplicationIsTakenWholeOrNotAtAll() throws {
    var catalog = ResourceCatalog()
    _ = try catalog.replaceFile(Sample.file("a.yaml", .all, Sample.staticCluster("file")))
    _ = try catalog.apply(Sample.application(.all, Sample.staticCluster("old")))
    func refusal(_ application: Application) -> String? {
        do throws(CatalogError) {
            _ = try catalog.apply(application)
            return nil
        } catch {
            return "\(error); \(error.hint)"
        }
    }
    let file = ResourceReference(.cluster, "file")
    let old = ResourceReference(.cluster, "old")
    #expect(
        refusal(try Sample.application(.all, Sample.staticCluster("new"), Sample.staticCluster("file")))
            == "CDS \"file\" is defined twice: a.yaml:2 and applied; remove or rename one of them")
    #expect(
        refusal(try Sample.application(.all, Sample.staticCluster("new"), removing: [file]))
            == "CDS \"file\" is defined in the file a.yaml:2; remove it from the file")
    #expect(
        refusal(
            try Sample.application(.all, Sample.staticCluster("new"), removing: [ResourceReference(.route, "r")]))
            == "no RDS \"r\" was applied for all; look up names and scopes with `martinet get --raw`")
    #expect(
        refusal(try Sample.application(.all, Sample.staticCluster("old"), removing: [old]))
            == "CDS \"old\" is to be set and to be removed; leave it out of one of the two")
    #expect(catalog.keys() == ["CDS file", "CDS old"])
}

@Test func aCatalogIsBounded() throws {
    var catalog = ResourceCatalog(limits: ResourceLimits(resources: 2))
    _ = try catalog.apply(Sample.application(.all, Sample.staticCluster("a"), Sample.staticCluster("b")))
    #expect(throws: CatalogError.tooManyResources(limit: 2)) {
        try catalog.replaceFile(Sample.file("a.yaml", .all, Sample.staticCluster("c")))
    }
    #expect(catalog.count == 2)
}

@Test func messagesOfARequestAreCheckedLikeFiles() throws {
    func refusal(_ request: ApplyRequest) -> String? {
        do throws(ResourceProblems) {
            _ = try Application(request)
            return nil
        } catch {
            return error.description
        }
    }
    #expect(refusal(ApplyRequest(scope: "cluster=x"))?.hasPrefix("`cluster=x` is no scope; write nothing") == true)
    #expect(
        refusal(ApplyRequest(resources: [.init(typeURL: "type.googleapis.com/none", bytes: [])]))?
            .hasPrefix("resources[0]: `type.googleapis.com/none` names no type that is known here; write one of")
            == true)
    let cluster = try Sample.packed(Sample.staticCluster("web"))[0]
    #expect(
        refusal(ApplyRequest(resources: [.init(typeURL: cluster.typeURL, bytes: [0xFF])]))?
            .hasPrefix("resources[0]: envoy.config.cluster.v3.Cluster, byte 0: ") == true)
    #expect(
        refusal(ApplyRequest(resources: [.init(typeURL: cluster.typeURL, bytes: [])]))
            == "resources[0].name: a resource without a name; give it a name that is not empty and not \"*\"")
    #expect(refusal(ApplyRequest(version: "a\nb"))?.hasPrefix("version: not fit to print") == true)
    #expect(
        refusal(ApplyRequest(removing: [.init(typeURL: "CDS", name: "web")]))
            == "remove[0]: `CDS` is no type that is served; write the type URL in full")
}
