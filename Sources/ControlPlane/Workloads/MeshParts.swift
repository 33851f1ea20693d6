import Discovery
import Logging
import Reactor
import Store
import Translation
import XDS

/// What a control plane has to do with the mesh, put together: its objects, the proxies that are connected, and what
/// these get. Belongs to the control thread.
final class MeshParts {
    let source: MeshSource
    let publisher: MeshPublisher
    let rollouts: RolloutRunner
    let health: HealthDesk
    /// What proxies tell of their traffic.
    let loads = LoadLedger()
    private let loadHealth: LoadHealth
    private let progress: PublishedProgress

    /// On the control thread's loop, before it runs; shows what was there before at once.
    init(
        _ configuration: ControlPlaneServer.Configuration, store: Store, secrets: SecretDirectory,
        resources: ResourceSource, events: StreamEvents, answers: AnswerBell, server: ServerReference,
        loop: EventLoop<NoConnections>
    ) throws {
        var objects = MeshSource.Configuration(directory: configuration.meshDirectory)
        objects.clock = configuration.authority.clock
        objects.logger = configuration.logger
        let settings = TranslationSettings(
            trustDomain: configuration.authority.trustDomain,
            federatedDomains: configuration.authority.federation.map { $0.trustDomain.name })
        objects.translation = settings
        source = MeshSource(store: store, configuration: objects)
        publisher = MeshPublisher(
            source, store: store, secrets: secrets,
            configuration: MeshPublisher.Configuration(settings: settings, logger: configuration.logger),
            raw: { [unowned resources] in resources.snapshots.snapshot(of: $0) })
        rollouts = RolloutRunner(
            publisher, store: store, server: server, bell: answers,
            configuration: RolloutRunner.Configuration(
                patience: configuration.rolloutPatience, logger: configuration.logger))
        health = HealthDesk(
            index: { [unowned source] in source.state.index },
            judge: { [unowned publisher] in publisher.note(judgements: $0) })
        publisher.meshChanged = { [unowned health] in health.meshChanged($0) }
        progress = PublishedProgress(server: server, rollouts: rollouts) { [weak publisher] in
            publisher?.affected[$0]
        }
        source.progress = progress
        source.proxyClass = { [unowned publisher] in publisher.registry.proxyClass(of: $0) }
        source.indexBefore = { [unowned publisher] in publisher.indexBefore($0) }
        source.translationFindings = { [unowned publisher] in publisher.told }
        source.pushPlan = { [unowned publisher] plan, _ in publisher.pushPlan(plan) }
        publisher.viewsChanged = { server.current?.assignViewsAgain() }
        publisher.start(on: loop)
        loadHealth = LoadHealth(loads)
        rollouts.health = loadHealth
        rollouts.start(on: loop)
        try source.start(on: loop)
        rollouts.resume()
        publisher.expectWorkloads()
        resources.published = { [unowned publisher] in publisher.rawChanged($0.views) }
        resources.scopesChanged = { [unowned publisher] in
            publisher.assignAgain()
            server.current?.assignViewsAgain()
        }
        events.open(
            loop.mailbox,
            OnControlThread { [publisher] event in
                switch event {
                case .began(let stream, let node): publisher.begin(stream, node)
                case .listening(let stream): publisher.listening(stream)
                case .ended(let stream): publisher.end(stream)
                }
            })
    }
}
