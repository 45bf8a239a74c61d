//! Images of an instance of EC2, against a server that judges each call by the policy of who makes it.

use crate::machine_restore::LIVE;
use crate::support::{App, Output, at, with_machine};
use lifeboat_testkit::s3::{Fault, FaultyProxy, MotoServer};
use serde_json::{Value, json};

/// An instance with an address that leads to it, and an application that protects it.
struct Site {
    server: MotoServer,
    app: App,
    instance: String,
    subnet: String,
    /// The group that the instance is in.
    own: String,
    /// The group for machines of drills.
    closed: String,
    address: String,
}

/// The content of an element of XML.
fn element(text: &str, name: &str) -> String {
    let first = elements(text, name).into_iter().next();
    first.unwrap_or_else(|| panic!("there is no {name} in {text}"))
}

fn elements(text: &str, name: &str) -> Vec<String> {
    let begin = format!("<{name}>");
    let all = text.split(begin.as_str()).skip(1);
    let all = all.filter_map(|after| after.split("</").next());
    all.map(str::to_owned).collect()
}

impl Site {
    fn new() -> Self {
        let server = MotoServer::start();
        let subnet = element(&server.ec2("Action=DescribeSubnets"), "subnetId");
        let vpc = element(&server.ec2("Action=DescribeVpcs"), "vpcId");
        let group = |name: &str, network: &str| {
            let made = server.ec2(&format!(
                "Action=CreateSecurityGroup&GroupName={name}&GroupDescription=d&VpcId={vpc}"
            ));
            let id = element(&made, "groupId");
            server.ec2(&format!("Action=AuthorizeSecurityGroupIngress&GroupId={id}&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=22&IpPermissions.1.ToPort=22&IpPermissions.1.IpRanges.1.CidrIp={network}"));
            id
        };
        let (own, closed) = (group("web", "0.0.0.0/0"), group("drills", "203.0.113.7/32"));
        let made = server.ec2(&format!("Action=RunInstances&ImageId=ami-12c6146b&MinCount=1&MaxCount=1&InstanceType=t3.small&SubnetId={subnet}&SecurityGroupId.1={own}&MetadataOptions.HttpTokens=required"));
        let instance = element(&made, "instanceId");
        let made = server.ec2("Action=AllocateAddress&Domain=vpc");
        let address = element(&made, "allocationId");
        server.ec2(&format!(
            "Action=AssociateAddress&AllocationId={address}&InstanceId={instance}"
        ));
        let mut app = App::with("");
        let machine = format!(
            r#"kind = "ec2"
instance = "{instance}"
region = "us-east-1"
name = "{{app}}-backup-{{date}}"
security_group = "{closed}"
keep_at_source = {{ last = 2 }}
wait = "10s"
access_key = "env:KEY"
secret_key = "env:SECRET""#
        );
        let rest = r#"[drill.weekly]
plans = ["daily"]
checks = [{ command = ["sh", "-c", "test -n \"$LIFEBOAT_ADDRESS_MACHINE\""] }]"#;
        app.configure(&with_machine(&machine, rest));
        app.env("AWS_ENDPOINT_URL", server.endpoint());
        app.env("KEY", &server.access_key);
        app.env("SECRET", &server.secret_key);
        app.write("data/file", b"worth keeping");
        Site {
            server,
            app,
            instance,
            subnet,
            own,
            closed,
            address,
        }
    }

    /// With an address, so that it can be restored.
    fn with_address(more: &str) -> Self {
        let site = Site::new();
        let address = format!("wait = \"10s\"\naddress = \"{}\"", site.address);
        site.app.edit("wait = \"10s\"", &address);
        site.app.configure_also(more);
        site
    }

    fn images(&self) -> Vec<String> {
        let said = self.server.ec2("Action=DescribeImages&Owner.1=self");
        elements(&said, "imageId")
    }

    /// The snapshots of disks that were made for images of the instance.
    fn disks(&self) -> Vec<String> {
        let said = self.server.ec2(&format!(
            "Action=DescribeSnapshots&Filter.1.Name=tag:lifeboat-original&Filter.1.Value.1={}",
            self.instance
        ));
        elements(&said, "snapshotId")
    }

    /// How many disks there are.
    fn volumes(&self) -> usize {
        elements(
            &self.server.ec2("Action=DescribeVolumes"),
            "availabilityZone",
        )
        .len()
    }

    /// Instances that run, but the original.
    fn others(&self) -> Vec<String> {
        let said = self.server.ec2("Action=DescribeInstances&Filter.1.Name=instance-state-name&Filter.1.Value.1=running&Filter.1.Value.2=pending");
        let all = elements(&said, "instanceId").into_iter();
        all.filter(|id| *id != self.instance).collect()
    }

    /// The instance to which the address leads.
    fn holder(&self) -> String {
        let said = self.server.ec2(&format!(
            "Action=DescribeAddresses&AllocationId.1={}",
            self.address
        ));
        elements(&said, "instanceId").pop().unwrap_or_default()
    }

    fn described(&self, instance: &str) -> String {
        self.server
            .ec2(&format!("Action=DescribeInstances&InstanceId.1={instance}"))
    }
}

#[test]
fn images_of_an_instance_are_taken_verified_drilled_and_pruned() {
    let site = Site::new();
    let app = &site.app;
    app.run(&["doctor"])
        .says(&["EC2 in us-east-1 answers: 0 snapshots of it are there"]);
    let points: Vec<String> = (0..3).map(|_| app.backup()).collect();
    let images = site.images();
    assert_eq!(images.len(), 3);
    assert_eq!(site.disks().len(), 3);
    app.ok(&["verify", "--all"])
        .says(&["is available; its bytes were not read"]);
    let shown = app.json(&["show", &points[2]]);
    let text = shown.to_string();
    for said in [
        images[2].as_str(),
        &site.instance,
        "us-east-1",
        "123456789012",
    ] {
        assert!(text.contains(said), "{said}: {shown:#}");
    }

    app.ok(&["prune"])
        .says(&["2 snapshots of plan daily kept where they are, 1 deleted"]);
    assert_eq!(site.images().len(), 2);
    assert_eq!(
        site.disks().len(),
        2,
        "the disks of the image are gone, too"
    );

    // What the original may do in the account is no business of a drill: here it would fail, since nobody has it.
    let newest = site.images().pop().unwrap();
    site.server.ec2(&format!("Action=CreateTags&ResourceId.1={newest}&Tag.1.Key=lifeboat-profile&Tag.1.Value=arn:aws:iam::123456789012:instance-profile/web"));
    let drilled = app.json_exits(4, &["drill", "weekly"]);
    assert_eq!(drilled["outcome"], "restored", "{drilled:#}");
    assert_eq!(site.others(), [""; 0], "the machine is gone");
    let all = site
        .server
        .ec2("Action=DescribeInstances&Filter.1.Name=tag:lifeboat&Filter.1.Value.1=drill");
    assert_eq!(
        elements(&all, "name").first().map(String::as_str),
        Some("terminated"),
        "{all}"
    );
    assert!(
        all.contains(&site.closed) && !all.contains(&site.own),
        "{all}"
    );
    assert_eq!(site.volumes(), 1, "its disks are gone, too");

    // Somebody deletes one with other tools.
    let gone = site.images().pop().unwrap();
    site.server
        .ec2(&format!("Action=DeregisterImage&ImageId={gone}"));
    app.exits(4, &["verify"])
        .says(&["missing: it is not there any more"]);
}

/// Ids of a kind in the region of copies.
fn in_copies(site: &Site, action: &str, id: &str) -> Vec<String> {
    let form = format!(
        "Action={action}&Filter.1.Name=tag:lifeboat-original&Filter.1.Value.1={}",
        site.instance
    );
    elements(&site.server.ec2_in("eu-west-1", &form), id)
}

#[test]
fn images_are_copied_into_another_region_where_a_machine_can_be_made_of_them() {
    let site = Site::new();
    let app = &site.app;
    app.edit(
        "region = \"us-east-1\"",
        "region = \"us-east-1\"\ncopy_to = \"eu-west-1\"",
    );
    (0..3).for_each(|_| {
        app.backup();
    });
    let images = || in_copies(&site, "DescribeImages", "imageId");
    let disks = || in_copies(&site, "DescribeSnapshots", "snapshotId");
    assert_eq!((images().len(), disks().len()), (3, 3));
    app.ok(&["prune"])
        .says(&["2 snapshots of plan daily kept where they are, 1 deleted"]);
    assert_eq!((images().len(), disks().len()), (2, 2));
    assert_eq!(site.images().len(), 2);
    app.ok(&["verify"])
        .says(&["in us-east-1 is available", "in eu-west-1 is available"]);

    // The region is lost: with what there is in the other, a drill passes.
    let there = |form: &str| site.server.ec2_in("eu-west-1", form);
    let vpc = element(&there("Action=DescribeVpcs"), "vpcId");
    let made = there(&format!(
        "Action=CreateSecurityGroup&GroupName=drills&GroupDescription=d&VpcId={vpc}"
    ));
    app.edit(&site.closed, &element(&made, "groupId"));
    app.edit(
        "region = \"us-east-1\"\ncopy_to = \"eu-west-1\"",
        "region = \"eu-west-1\"",
    );
    let drilled = app.json_exits(4, &["drill", "weekly"]);
    assert_eq!(drilled["outcome"], "restored", "{drilled:#}");
    let machines = there("Action=DescribeInstances");
    assert_eq!(elements(&machines, "instanceType"), ["t3.small"]);
    assert!(machines.contains("terminated"), "{machines}");
}

#[test]
fn a_drill_makes_no_machine_that_others_can_reach() {
    let site = Site::new();
    let app = &site.app;
    app.backup();
    let (closed, own) = (site.closed.as_str(), site.own.as_str());
    app.edit(closed, own);
    app.exits(4, &["drill", "weekly"])
        .says(&["lets 0.0.0.0/0 in: no drill's machine is made in it"]);
    app.edit(&format!("security_group = \"{own}\"\n"), "");
    app.ok(&["config", "check"])
        .says(&["names no `security_group`"]);
    app.exits(4, &["drill", "weekly"])
        .says(&["no security group is named for the machines that drills make"]);
    let all = site.server.ec2("Action=DescribeInstances");
    assert_eq!(elements(&all, "instanceId"), [site.instance.as_str()]);
}

#[test]
fn a_new_machine_takes_the_place_of_the_old_one_even_if_that_is_gone() {
    let site = Site::with_address("");
    let app = &site.app;
    app.backup();
    app.exits(7, &["restore", "latest", "--source", "machine"])
        .says(&["leave", &site.instance, "as it is"]);
    app.exits(0, &LIVE).says(&["restored"]);
    let first = site.holder();
    assert_eq!(site.others(), [first.as_str()]);
    let newest = app.json(&["show", "latest"]).to_string();
    assert!(
        newest.contains(&format!("\"machine\":\"{first}\"")),
        "{newest}"
    );
    app.ok(&["verify", "--all"]);

    // Both are lost, with whatever they said of themselves.
    for instance in [&site.instance, &first] {
        site.server.ec2(&format!(
            "Action=TerminateInstances&InstanceId.1={instance}"
        ));
    }
    let association = site.server.ec2("Action=DescribeAddresses");
    for association in elements(&association, "associationId") {
        site.server.ec2(&format!(
            "Action=DisassociateAddress&AssociationId={association}"
        ));
    }
    app.exits(0, &LIVE).says(&[
        "is not in us-east-1: ",
        "has the security groups that were noted",
    ]);
    let second = site.holder();
    assert!(second != first && second != site.instance, "{second}");
    let made = site.described(&second);
    for (name, wanted) in [
        ("instanceType", "t3.small"),
        ("subnetId", &site.subnet),
        ("groupId", &site.own),
        ("httpTokens", "required"),
    ] {
        assert_eq!(element(&made, name), wanted, "{made}");
    }
}

#[test]
fn users_are_led_back_if_a_check_fails() {
    let site = Site::with_address("[restore]\nchecks = [{ command = [\"false\"] }]\n");
    site.app.backup();
    let done = site.app.exits(4, &LIVE);
    done.says(&["FAILED AND SWAPPED BACK"]);
    assert_eq!(site.holder(), site.instance);
    // An address of somebody else is nobody's business.
    let made = site
        .server
        .ec2("Action=RunInstances&ImageId=ami-12c6146b&MinCount=1&MaxCount=1");
    let other = element(&made, "instanceId");
    site.server.ec2(&format!(
        "Action=AssociateAddress&AllocationId={}&InstanceId={other}&AllowReassociation=true",
        site.address
    ));
    site.app
        .exits(3, &["backup"])
        .says(&["is neither", "correct `instance` or `address`"]);
    site.app.edit(&site.address, "eipalloc-0000");
    site.app
        .exits(3, &["backup"])
        .says(&["InvalidAllocationID.NotFound"]);
}

#[test]
fn what_passes_is_waited_for_and_makes_one_image() {
    let site = Site::new();
    let proxy = FaultyProxy::start(site.server.address());
    let mut app = site.app;
    app.env("AWS_ENDPOINT_URL", proxy.endpoint());
    let refusal = |code: &str| {
        format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>m</Message></Error></Errors><RequestID>r</RequestID></Response>"
        )
    };
    let throttled =
        |action: &str| Fault::Answer(action.to_owned(), 503, refusal("RequestLimitExceeded"));
    for (fault, times) in [
        (throttled("Action=CreateImage"), 2),
        (throttled("Action=DescribeImages"), 2),
        (Fault::LoseAnswerTo("Action=CreateImage".to_owned()), 1),
        (Fault::LoseAnswerTo("Action=DescribeImages".to_owned()), 1),
        (
            Fault::Answer(
                "Action=CreateImage".to_owned(),
                200,
                "<CreateImageResponse><imag".to_owned(),
            ),
            1,
        ),
    ] {
        let (before, done) = (images(&site.server), proxy.done());
        let told = format!("{fault:?}");
        proxy.set(fault, times);
        app.backup();
        assert_eq!(images(&site.server) - before, 1, "{told}");
        assert!(proxy.done() > done, "{told}");
    }
    let (before, done) = (images(&site.server), proxy.done());
    proxy.set(Fault::LoseAnswerTo("Action=RunInstances".to_owned()), 1);
    app.exits(4, &["drill", "weekly"]);
    assert_eq!(proxy.done() - done, 1);
    assert_eq!(images(&site.server), before);
    let all = site
        .server
        .ec2("Action=DescribeInstances&Filter.1.Name=tag:lifeboat&Filter.1.Value.1=drill");
    assert_eq!(
        elements(&all, "instanceId").len(),
        1,
        "one machine was made: {all}"
    );
    assert!(all.contains("<name>terminated<"), "{all}");

    // Killed between the image and its disks: the next one deletes them, too.
    proxy.set(
        Fault::Answer(
            "Action=DeleteSnapshot".to_owned(),
            403,
            refusal("UnauthorizedOperation"),
        ),
        100,
    );
    app.run(&["prune"]).says(&["allow ec2:DeleteSnapshot"]);
    let marked = "Action=DescribeSnapshots&Filter.1.Name=tag:lifeboat&Filter.1.Value.1=deleted";
    assert_eq!(elements(&site.server.ec2(marked), "snapshotId").len(), 3);
    assert_eq!(images(&site.server), 2);
    proxy.set(Fault::LoseAnswerTo("nothing".to_owned()), 0);
    app.backup();
    at(&app, "+1d", &["prune"]);
    assert_eq!(elements(&site.server.ec2(marked), "snapshotId"), [""; 0]);
}

fn images(server: &MotoServer) -> usize {
    elements(&server.ec2("Action=DescribeImages&Owner.1=self"), "imageId").len()
}

#[test]
fn what_does_not_pass_makes_no_point_complete() {
    let site = Site::new();
    let mut app = site.app;
    let partial = |app: &App, texts: &[&str]| {
        app.exits(3, &["backup"]).says(&["partial"]).says(texts);
    };
    app.edit(&site.instance, "i-00000000000000000");
    partial(&app, &["instance i-00000000000000000 is not in us-east-1"]);
    app.edit("i-00000000000000000", &site.instance);
    // A name that somebody else took.
    site.server.ec2(&format!(
        "Action=CreateImage&InstanceId={}&Name=theirs",
        site.instance
    ));
    app.edit("{app}-backup-{date}", "theirs");
    partial(
        &app,
        &["InvalidAMIName.Duplicate", "change `name` of the source"],
    );
    app.edit("\"theirs\"", "\"ours-{point}\"");
    app.backup();
    let policy = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*" }] });
    let (key, secret) = site.server.enforce(&policy.to_string());
    app.env("KEY", &key);
    app.env("SECRET", &secret);
    let refused = app.exits(3, &["backup"]);
    refused.says(&["UnauthorizedOperation", "allow ec2:CreateImage"]);
    refused.never_says(&["Encoded authorization"]);
    app.env("SECRET", "of-somebody-else");
    partial(&app, &["AuthFailure", "get new keys, or check the clock"]);
}

/// Pairs of the number of a statement and an action that it allows.
fn allowed(policy: &Value) -> Vec<(usize, String)> {
    let statements = policy["Statement"].as_array().unwrap().iter().enumerate();
    let each = statements.flat_map(|(number, statement)| {
        let actions = match &statement["Action"] {
            Value::Array(actions) => actions.clone(),
            action => vec![action.clone()],
        };
        let text = |action: Value| (number, action.as_str().unwrap().to_owned());
        actions.into_iter().map(text).collect::<Vec<_>>()
    });
    each.collect()
}

/// The policy without what a statement allows of an action.
fn without(policy: &Value, (number, action): &(usize, String)) -> String {
    let mut policy = policy.clone();
    let statement = &mut policy["Statement"][*number];
    let mut left = match statement["Action"].take() {
        Value::Array(actions) => actions,
        one => vec![one],
    };
    left.retain(|known| known != action.as_str());
    left.push(json!("ec2:NothingAtAll"));
    statement["Action"] = Value::Array(left);
    policy.to_string()
}

/// With the policy that is printed for a role its job passes, and without any one part of it it does not.
fn holds(
    role: &str,
    before: &dyn Fn(&Site),
    job: &dyn Fn(&App) -> Output,
    is_done: &dyn Fn(&Output) -> bool,
) {
    let mut site = Site::with_address("");
    if let "backup" | "prune" = role {
        let region = "region = \"us-east-1\"";
        let both = format!("{region}\ncopy_to = \"eu-west-1\"");
        site.app.edit(region, &both);
    }
    site.app.backup();
    let policy = site.app.json(&["policy", "--role", role]);
    let everything = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "*", "Resource": "*" }] });
    let parts = allowed(&policy);
    let mut policies = vec![everything.to_string(), policy.to_string()];
    policies.extend(parts.iter().map(|part| without(&policy, part)));
    let users = site.server.enforce_each(&policies);
    let as_user = |site: &mut Site, number: usize| {
        let (key, secret): &(String, String) = &users[number];
        site.app.env("KEY", key);
        site.app.env("SECRET", secret);
    };
    as_user(&mut site, 0);
    before(&site);
    as_user(&mut site, 1);
    let whole = job(&site.app);
    assert!(is_done(&whole), "{role} with its policy\n{whole}");
    for (part, number) in parts.iter().zip(2..) {
        as_user(&mut site, 0);
        before(&site);
        as_user(&mut site, number);
        let ended = job(&site.app);
        assert!(
            ended.to_string().contains(&part.1),
            "{role} without {part:?} does not name it\n{ended}\n{policy:#}"
        );
    }
}

#[test]
fn a_role_needs_exactly_its_policy() {
    let backup = |app: &App| app.run(&["backup"]);
    holds("backup", &|_| (), &backup, &|ended| ended.code == 0);
    holds(
        "drill",
        &|_| (),
        &|app| app.run(&["drill", "weekly"]),
        &|ended| ended.code == 4 && ended.to_string().contains("restored"),
    );
    let prune = |app: &App| app.run(&["prune"]);
    let more = |site: &Site| {
        (0..2).for_each(|_| {
            site.app.backup();
        });
    };
    holds("prune", &more, &prune, &|ended| ended.code == 0);
}

#[test]
fn a_restore_needs_exactly_its_policy() {
    let restore = |app: &App| app.run(&LIVE);
    holds("restore", &|_| (), &restore, &|ended| ended.code == 0);
}
