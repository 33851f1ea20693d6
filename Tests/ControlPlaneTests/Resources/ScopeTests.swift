import Testing
import Time
import XDS

@testable import ControlPlane

@Test func aScopeReadsBackFromItsText() {
    for scope in [Scope.all, .nodeCluster("web"), .nodeID("sidecar~10.0.0.1~a=b,c")] {
        #expect(Scope(text: scope.text) == scope)
    }
    for text in [
        "node-cluster=", "node-id=", "cluster=web", "all", "node-id=a\nb",
        "node-id=" + String(repeating: "x", count: 513),
    ] {
        #expect(Scope(text: text) == nil)
    }
}

@Test func aClustersScopeMeetsEveryIDsScopeAndNoOtherClusters() {
    #expect(Scope.nodeCluster("a").mayMeet(.nodeID("x")))
    #expect(Scope.all.mayMeet(.nodeID("x")))
    #expect(!Scope.nodeCluster("a").mayMeet(.nodeCluster("b")))
    #expect(!Scope.nodeID("x").mayMeet(.nodeID("y")))
}

@Test func viewNamesAreReadableAndNoTwoViewsShareOne() {
    #expect(ViewScopes().name == "all")
    #expect(ViewScopes(nodeCluster: "web").name == "node-cluster=web")
    #expect(ViewScopes(nodeCluster: "web", nodeID: "x").name == "node-cluster=web,node-id=x")
    #expect(ViewScopes(nodeCluster: "web,node-id=x").name == "node-cluster=web%2Cnode-id=x")
    #expect(ViewScopes(nodeCluster: "web%2Cnode-id=x").name == "node-cluster=web%252Cnode-id=x")
}

@Test func aNodeSeesTheOverlaysThatExistForIt() {
    let views = ViewDirectory()
    let node = Node(id: "x", cluster: "web")
    #expect(views.view(of: node) == "all")
    views.change(adding: [.all, .nodeCluster("web")], removing: [])
    #expect(views.view(of: node) == "node-cluster=web")
    #expect(views.view(of: Node(id: "x", cluster: "other")) == "all")
    views.change(adding: [.nodeID("x")], removing: [])
    #expect(views.view(of: node) == "node-cluster=web,node-id=x")
    #expect(views.takeDemanded() == [ViewScopes(nodeCluster: "web", nodeID: "x")])
    #expect(views.view(of: node) == "node-cluster=web,node-id=x")
    #expect(views.takeDemanded().isEmpty)
    views.change(adding: [], removing: [.nodeCluster("web")])
    #expect(views.view(of: node) == "node-id=x")
}

@Test func viewsOfTwoScopesAreBounded() {
    let views = ViewDirectory(combinedLimit: 2)
    views.change(adding: [.nodeCluster("a"), .nodeCluster("b"), .nodeCluster("c"), .nodeID("x")], removing: [])
    for cluster in ["a", "b", "c"] { _ = views.view(of: Node(id: "x", cluster: cluster)) }
    #expect(views.view(of: Node(id: "x", cluster: "c")) == "node-id=x")
    #expect(views.refusals == 2)
    #expect(views.takeDemanded().count == 2)
    // Room again.
    views.change(adding: [], removing: [.nodeCluster("a")])
    #expect(views.view(of: Node(id: "x", cluster: "c")) == "node-cluster=c,node-id=x")
}

@Test func changesComeToRestBeforeTheyAreReadButNotForEver() {
    var debounce = Debounce(quiet: .milliseconds(20), longest: .milliseconds(50))
    func instant(_ milliseconds: Int64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }
    #expect(debounce.note(at: instant(0)) == instant(20))
    #expect(debounce.note(at: instant(15)) == instant(35))
    #expect(debounce.note(at: instant(40)) == instant(50))
    debounce.finish()
    #expect(debounce.note(at: instant(60)) == instant(80))
}
