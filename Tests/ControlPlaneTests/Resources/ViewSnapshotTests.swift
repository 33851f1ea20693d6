import Testing
import XDS

@testable import ControlPlane

/// A catalog and the views that follow it.
private struct Followed {
    var catalog = ResourceCatalog()
    var views = ViewSnapshots()

    mutating func file(_ path: String, _ scope: Scope, _ resources: String..., version: String? = nil) throws {
        let text = (version.map { "version_info: \($0)\n" } ?? "") + "resources:\n" + resources.joined()
        let change = try catalog.replaceFile(ParsedFile(Array(text.utf8), path: path, scope: scope))
        try views.follow(change, of: catalog)
    }

    mutating func remove(_ path: String) throws {
        try views.follow(catalog.removeFile(path), of: catalog)
    }

    mutating func apply(_ application: Application) throws {
        try views.follow(try catalog.apply(application), of: catalog)
    }

    func names(_ view: ViewName, _ type: ResourceType) -> [String]? { views.snapshot(of: view)?[type].names }
}

@Test func aViewShowsWhatIsForAllAndWhatIsForItsScopes() throws {
    var world = Followed()
    try world.file("a.yaml", .all, Sample.staticCluster("base"))
    #expect(world.views.names == ["all"])
    try world.file("x.yaml", .nodeID("x"), Sample.staticCluster("mine"))
    try world.file("c.yaml", .nodeCluster("c"), Sample.staticCluster("ours"))
    #expect(world.views.names == ["all", "node-cluster=c", "node-id=x"])
    #expect(world.names("all", .cluster) == ["base"])
    #expect(world.names("node-id=x", .cluster) == ["base", "mine"])
    try world.views.demand(ViewScopes(nodeCluster: "c", nodeID: "x"), of: world.catalog)
    #expect(world.names("node-cluster=c,node-id=x", .cluster) == ["base", "mine", "ours"])
    // Changes reach every view that they concern.
    try world.file("a.yaml", .all, Sample.staticCluster("base2"))
    try world.file("c.yaml", .nodeCluster("c"), Sample.staticCluster("ours2"))
    #expect(world.names("node-cluster=c,node-id=x", .cluster) == ["base2", "mine", "ours2"])
    #expect(world.names("node-id=x", .cluster) == ["base2", "mine"])
    try world.remove("x.yaml")
    #expect(world.views.names == ["all", "node-cluster=c"])
}

@Test func typesOfWhichAScopeHasNothingAreSharedByIdentity() throws {
    var world = Followed()
    try world.file("a.yaml", .all, Sample.cluster("web"), Sample.endpoints("web"), Sample.routes("r", to: []))
    try world.file("x.yaml", .nodeID("x"), Sample.endpoints("mine"))
    func shared() throws -> [ResourceType] {
        let view = try #require(world.views.snapshot(of: "node-id=x"))
        return ResourceType.all.filter { view[$0] === world.views.base[$0] }
    }
    let allButEndpoints = ResourceType.all.filter { $0 != .endpoints }
    #expect(try shared() == allButEndpoints)
    try world.file("a.yaml", .all, Sample.cluster("web", timeout: "2s"), Sample.endpoints("web", port: 81))
    #expect(try shared() == allButEndpoints)
    #expect(world.names("node-id=x", .endpoints) == ["mine", "web"])
    // The scope loses its endpoints and gets a cluster.
    try world.file("x.yaml", .nodeID("x"), Sample.staticCluster("mine"))
    #expect(try shared() == ResourceType.all.filter { $0 != .cluster })
    #expect(world.names("node-id=x", .endpoints) == ["web"])
    #expect(world.names("node-id=x", .cluster) == ["mine", "web"])
}

@Test func aChangeInOneScopeLeavesEveryOtherViewAsItIs() throws {
    var world = Followed()
    try world.file("a.yaml", .all, Sample.staticCluster("base"))
    for index in 0..<100 {
        try world.file("\(index).yaml", .nodeID("n\(index)"), Sample.staticCluster("c\(index)"))
    }
    let before = world.views
    try world.file("7.yaml", .nodeID("n7"), Sample.staticCluster("other"))
    let changed = world.views.names.filter { world.views.snapshot(of: $0) !== before.snapshot(of: $0) }
    #expect(changed == ["node-id=n7"])
    let view = try #require(world.views.snapshot(of: "node-id=n7"))
    #expect(ResourceType.all.filter { view[$0] !== before.snapshot(of: "node-id=n7")?[$0] } == [.cluster])
}

@Test func aVersionThatTheUserGivesIsShownForTheTypesThatChange() throws {
    var world = Followed()
    try world.apply(Sample.application(.all, Sample.staticCluster("a"), label: "v7"))
    #expect(world.views.base[.cluster].version == "v7")
    try world.apply(Sample.application(.all, Sample.staticCluster("b"), label: "v8"))
    #expect(world.views.base[.cluster].version == "v8")
    #expect(world.views.base[.cluster].resource(named: "a")?.version == "v7")
    try world.apply(Sample.application(.all, Sample.staticCluster("c")))
    #expect(world.views.base[.cluster].version.count == 32)
    #expect(world.views.base[.cluster].label == nil)
}

@Test func aFilesVersionIsShownWhereNothingElseHasASay() throws {
    var world = Followed()
    try world.file("a.yaml", .all, Sample.staticCluster("a"), version: "one")
    #expect(world.views.base[.cluster].version == "one")
    try world.file("b.yaml", .all, Sample.staticCluster("b"), version: "two")
    #expect(world.views.base[.cluster].label == nil)
    try world.file("b.yaml", .all, Sample.staticCluster("b2"), version: "one")
    #expect(world.views.base[.cluster].version == "one")
    // A scope without a version: neither tells what its proxies see.
    try world.file("x.yaml", .nodeID("x"), Sample.staticCluster("x"))
    #expect(world.views.snapshot(of: "node-id=x")?[.cluster].label == nil)
    #expect(world.views.base[.cluster].version == "one")
}

@Test func whatMovesFromAllToANewScopeIsThere() throws {
    var world = Followed()
    try world.file("a.yaml", .all, Sample.staticCluster("web"))
    let (change, _) = world.catalog.replaceFiles(
        [try Sample.file("x.yaml", .nodeID("x"), Sample.staticCluster("web"))], removing: ["a.yaml"])
    try world.views.follow(change, of: world.catalog)
    #expect(world.names("all", .cluster) == [])
    #expect(world.names("node-id=x", .cluster) == ["web"])
}

/// Random steps; after each, catalog and views must be what they are when made from nothing.
@Test(arguments: 0..<60)
func whatFollowsStepByStepEqualsWhatIsMadeFromNothing(_ seed: Int) throws {
    var random = Seeded(state: UInt64(seed))
    var world = Followed()
    let scopes: [Scope] = [.all, .all, .nodeCluster("c"), .nodeCluster("d"), .nodeID("x"), .nodeID("y")]
    func resources() -> String {
        (0..<Int.random(in: 0...3, using: &random)).map { _ in
            let (name, other) = (
                "n\(Int.random(in: 0..<5, using: &random))", "n\(Int.random(in: 0..<5, using: &random))"
            )
            switch Int.random(in: 0..<5, using: &random) {
            case 0: return Sample.cluster(name, timeout: "\(Int.random(in: 1...2, using: &random))s")
            case 1: return Sample.endpoints(name, port: Int.random(in: 80...81, using: &random))
            case 2: return Sample.routes(name, to: [other])
            case 3: return Sample.listener(name, routes: other)
            default: return Sample.staticCluster(name)
            }
        }.joined()
    }
    for _ in 0..<40 {
        let scope = scopes.randomElement(using: &random)!
        let path = "\(Int.random(in: 0..<4, using: &random)).yaml"
        var next = world.catalog
        let change: CatalogChange
        do {
            switch Int.random(in: 0..<10, using: &random) {
            case 0: change = next.removeFile(path)
            case 1..<5:
                let text = "resources:\n" + resources()
                change = try next.replaceFile(ParsedFile(Array(text.utf8), path: path, scope: scope))
            case 5:
                let texts = [resources(), resources()].map { Array(("resources:\n" + $0).utf8) }
                let files = try zip(["1.yaml", "2.yaml"], texts).map {
                    try ParsedFile($1, path: $0, scope: scopes.randomElement(using: &random)!)
                }
                change = next.replaceFiles(files, removing: ["3.yaml"]).change
            case 6:
                let pair = ViewScopes(nodeCluster: "c", nodeID: "x")
                try world.views.demand(pair, of: world.catalog)
                continue
            default:
                let held = next.resources(scope: scope).filter { $0.origin == .applied }
                let application = try Sample.application(
                    scope, resources(), label: Bool.random(using: &random) ? "v" : nil,
                    replacesAll: Int.random(in: 0..<4, using: &random) == 0,
                    removing: held.isEmpty || Bool.random(using: &random) ? [] : [held[0].key])
                change = try next.apply(application)
            }
        } catch is CatalogError {
            continue
        } catch is ResourceProblems {
            continue
        }
        world.catalog = next
        try world.views.follow(change, of: next)
        try expectSame(world, seed)
    }
}

private func expectSame(_ world: Followed, _ seed: Int) throws {
    // From nothing: every resource put one by one, in order.
    var rebuilt = ResourceCatalog()
    let all = world.catalog.resources()
    for (path, resources) in Dictionary(grouping: all.filter { $0.origin.path != nil }, by: { $0.origin.path! })
        .sorted(by: { $0.key < $1.key })
    {
        _ = try rebuilt.replaceFile(ParsedFile(path: path, scope: resources[0].scope, resources: resources))
    }
    for held in all where held.origin == .applied {
        _ = try rebuilt.apply(Application(scope: held.scope, setting: [held], label: held.label))
    }
    #expect(rebuilt.findingTexts == world.catalog.findingTexts, "seed \(seed)")
    #expect(rebuilt.count == world.catalog.count, "seed \(seed)")
    #expect(rebuilt.scopes == world.catalog.scopes, "seed \(seed)")
    var views = try ViewSnapshots(showing: rebuilt)
    if world.views.names.contains("node-cluster=c,node-id=x") {
        try views.demand(ViewScopes(nodeCluster: "c", nodeID: "x"), of: rebuilt)
    }
    #expect(views.names == world.views.names, "seed \(seed)")
    for name in views.names {
        guard let one = views.snapshot(of: name), let other = world.views.snapshot(of: name) else { continue }
        for type in ResourceType.all {
            #expect(one[type].names == other[type].names, "seed \(seed), \(name), \(type)")
            for resource in one[type].names {
                let (here, there) = (one[type].resource(named: resource), other[type].resource(named: resource))
                #expect(
                    here?.body == there?.body && here?.version == there?.version, "seed \(seed), \(name), \(resource)")
            }
        }
    }
}
