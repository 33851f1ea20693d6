import Testing
import XDS

@testable import ControlPlane

@Test func whatIsNotThereAndWhatIsNotUsedIsToldWithItsPlace() throws {
    var catalog = ResourceCatalog()
    _ = catalog.replaceFiles(
        [
            try Sample.file("c.yaml", .all, Sample.cluster("web")),
            try Sample.file("e.yaml", .all, Sample.endpoints("wbe")),
            try Sample.file("l.yaml", .all, Sample.listener("shop", routes: "shop")),
            try Sample.file("r.yaml", .all, Sample.routes("shp", to: ["web", "reviews"])),
        ], removing: [])
    #expect(
        catalog.findingTexts == [
            "c.yaml:3: CDS \"web\": name: EDS \"web\" is not there; add a ClusterLoadAssignment with that cluster_name",
            "e.yaml:2: EDS \"wbe\": no cluster uses it; refer to it, or remove it",
            "l.yaml:11: LDS \"shop\": filter_chains[0].filters[0].typed_config.rds.route_config_name: "
                + "RDS \"shop\" is not there; add it, or correct the name",
            "r.yaml:9: RDS \"shp\": virtual_hosts[0].routes[1].route.cluster: CDS \"reviews\" is not there; "
                + "add it, or correct the name",
            "r.yaml:2: RDS \"shp\": no listener uses it; refer to it, or remove it",
        ])
    #expect(catalog.findingCount == 5)
}

@Test func aFindingGoesWhenItIsMended() throws {
    var catalog = ResourceCatalog()
    let first = try catalog.replaceFile(Sample.file("c.yaml", .all, Sample.cluster("web")))
    #expect(first.newFindings.count == 1)
    let second = try catalog.apply(Sample.application(.all, Sample.endpoints("web")))
    #expect(second.mendedFindings.map(\.target) == [ResourceReference(.endpoints, "web")])
    #expect(catalog.findings.isEmpty)
    let third = catalog.removeFile("c.yaml")
    #expect(
        third.newFindings.map(\.description) == ["applied: EDS \"web\": no cluster uses it; refer to it, or remove it"])
    let fourth = try catalog.apply(
        Sample.application(.all, replacesAll: true))
    #expect(fourth.mendedFindings.count == 1)
    #expect(catalog.findingCount == 0)
}

@Test func aFindingFollowsItsLine() throws {
    var catalog = ResourceCatalog()
    _ = try catalog.replaceFile(Sample.file("c.yaml", .all, Sample.cluster("web"), Sample.staticCluster("x")))
    let change = try catalog.replaceFile(Sample.file("c.yaml", .all, Sample.staticCluster("x"), Sample.cluster("web")))
    #expect(change.isEmpty && change.newFindings.isEmpty && change.mendedFindings.isEmpty)
    #expect(catalog.findings.first?.origin == .file(path: "c.yaml", line: 6))
}

@Test func scopesAreLookedAtAsTheirProxiesSeeThem() throws {
    var catalog = ResourceCatalog()
    // For all: a listener; its routes come with the ID.
    _ = try catalog.replaceFile(Sample.file("l.yaml", .all, Sample.listener("l", routes: "r")))
    _ = try catalog.replaceFile(Sample.file("x.yaml", .nodeID("x"), Sample.routes("r", to: [])))
    #expect(catalog.findings.map(\.scope) == [.all])
    #expect(
        catalog.findings[0].description
            == "l.yaml:11: LDS \"l\": filter_chains[0].filters[0].typed_config.rds.route_config_name: RDS \"r\" "
            + "is not there; it is in x.yaml:2 (for node-id=x): move it, or add one")
    // In a cluster's scope only, and missing there.
    _ = catalog.removeFile("l.yaml")
    _ = try catalog.replaceFile(Sample.file("c.yaml", .nodeCluster("c"), Sample.cluster("web")))
    #expect(
        catalog.findingTexts.first
            == "c.yaml:3: CDS \"web\": name: EDS \"web\" is not there for node-cluster=c; "
            + "add a ClusterLoadAssignment with that cluster_name")
    // Endpoints for all mend it, and are used.
    _ = try catalog.replaceFile(Sample.file("e.yaml", .all, Sample.endpoints("web")))
    #expect(catalog.findings.allSatisfy { $0.target.type == .route })
}

@Test func manyReferrersOfOneMissingNameAreOneFinding() throws {
    var catalog = ResourceCatalog()
    let routes = (1...3).map { Sample.routes("r\($0)", to: ["web"]) }
    _ = try catalog.replaceFile(Sample.file("r.yaml", .all, routes.joined()))
    let missing = catalog.findings.filter { $0.kind == .missing }
    #expect(missing.count == 1)
    #expect(missing[0].description.contains("CDS \"web\" is not there (2 more refer to it); add it"))
    #expect(missing[0].resource.key.name == "r1")
    #expect(
        catalog.findings(about: ScopedReference(scope: .all, key: ResourceReference(.route, "r3"))).map(\.kind).count
            == 2)
}

@Test func oneChangedEndpointAmongFiveThousandClustersIsCheckedAlone() throws {
    var catalog = ResourceCatalog()
    let count = 5000
    func file(_ path: String, _ text: String) throws -> ParsedFile {
        try ParsedFile(Array(("resources:\n" + text).utf8), path: path, scope: .all)
    }
    _ = try catalog.replaceFile(file("c.yaml", (0..<count).map { Sample.cluster("c\($0)") }.joined()))
    _ = try catalog.apply(
        try Sample.application(.all, (0..<count).map { Sample.endpoints("c\($0)") }.joined()))
    #expect(catalog.findings.isEmpty)
    let before = catalog.work
    let change = try catalog.apply(Sample.application(.all, Sample.endpoints("c77", port: 81)))
    #expect(change.words == ["~EDS c77"])
    #expect(catalog.work.resourcesPut - before.resourcesPut == 1)
    #expect(catalog.work.targetsChecked - before.targetsChecked <= 1)
    // One that goes is checked against those that refer to it.
    let gone = try catalog.apply(Sample.application(.all, removing: [ResourceReference(.endpoints, "c77")]))
    #expect(gone.newFindings.count == 1)
    #expect(catalog.work.targetsChecked - before.targetsChecked <= 2)
    // A file read again puts only what differs.
    let edited = (0..<count).map { Sample.cluster("c\($0)", timeout: $0 == 5 ? "9s" : "1s") }.joined()
    let put = catalog.work.resourcesPut
    #expect(try catalog.replaceFile(file("c.yaml", edited)).words == ["~CDS c5"])
    #expect(catalog.work.resourcesPut - put == 1)
}
