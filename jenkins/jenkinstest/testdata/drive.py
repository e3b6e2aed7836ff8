"""Drives a Jenkins with python-jenkins: whatever it does with a real one must work with the stand-in.

    drive.py URL USER SECRET VERSION FOLDER
"""
import sys
import time

import jenkins

url, user, secret, version, folder = sys.argv[1:]
server = jenkins.Jenkins(url, username=user, password=secret, timeout=20)

JOB = """<?xml version='1.0' encoding='UTF-8'?>
<project>
  <description>driven</description>
  <properties>
    <hudson.model.ParametersDefinitionProperty>
      <parameterDefinitions>
        <hudson.model.StringParameterDefinition><name>WHO</name><defaultValue>world</defaultValue></hudson.model.StringParameterDefinition>
        <hudson.model.StringParameterDefinition><name>SLEEP</name><defaultValue>0</defaultValue></hudson.model.StringParameterDefinition>
      </parameterDefinitions>
    </hudson.model.ParametersDefinitionProperty>
  </properties>
  <quietPeriod>0</quietPeriod>
  <disabled>false</disabled>
  <concurrentBuild>false</concurrentBuild>
  <builders><hudson.tasks.Shell><command>echo "hello $WHO from $JOB_NAME"
sleep $SLEEP</command></hudson.tasks.Shell></builders>
</project>"""


def refused(call, *arguments):
    try:
        call(*arguments)
    except jenkins.JenkinsException:
        return True
    return False


def started(number):
    """Follows a queue item to its build, as everybody does."""
    deadline = time.time() + 30
    while time.time() < deadline:
        item = server.get_queue_item(number)
        assert not item.get('cancelled'), item
        if item.get('executable'):
            return item['executable']['number']
        assert item['why'], item
        time.sleep(0.02)
    raise AssertionError('item %d never becomes a build' % number)


def ended(name, number):
    deadline = time.time() + 30
    while time.time() < deadline:
        info = server.get_build_info(name, number)
        if info['result'] and not info['building']:
            return info
        time.sleep(0.02)
    raise AssertionError('build %d never ends' % number)


# who and what
assert server.get_whoami()['id'] == user
assert server.get_version() == version, server.get_version()  # logs in only after another call
assert server.wait_for_normal_op(30)

# create: a folder, a job in it; twice is refused
name = folder + '/build'
server.create_job(folder, jenkins.EMPTY_FOLDER_XML)
server.create_job(name, JOB)
assert refused(server.create_job, name, JOB)
assert server.job_exists(name) and not server.job_exists(folder + '/other')
assert server.get_job_config(name) == JOB
info = server.get_job_info(name)
assert info['fullName'] == name and info['buildable'] and info['lastBuild'] is None, info
[definitions] = [p['parameterDefinitions'] for p in info['property'] if 'parameterDefinitions' in p]
assert [d['name'] for d in definitions] == ['WHO', 'SLEEP'], definitions
assert name in [job['fullname'] for job in server.get_all_jobs()]
assert folder in [job['name'] for job in server.get_jobs(view_name='all')]

# trigger with parameters, follow, read
number = started(server.build_job(name, {'WHO': 'you & me=ü', 'UNDECLARED': 'x'}))
build = ended(name, number)
assert number == 1 and build['result'] == 'SUCCESS' and build['fullDisplayName'] == folder + ' » build #1', build
[parameters] = [a['parameters'] for a in build['actions'] if 'parameters' in a]
assert {p['name']: p['value'] for p in parameters} == {'WHO': 'you & me=ü', 'SLEEP': '0'}, parameters
output = server.get_build_console_output(name, number)
assert 'hello you & me=ü from %s\n' % name in output and output.endswith('Finished: SUCCESS\n'), output
assert server.get_job_info(name, fetch_all_builds=True)['lastSuccessfulBuild']['number'] == 1

# stop, with another one waiting behind it
number = started(server.build_job(name, {'SLEEP': '300'}))
waiting = server.build_job(name, {'WHO': 'behind'})
deadline = time.time() + 30
while not server.get_queue_item(waiting)['blocked']:
    assert time.time() < deadline
    time.sleep(0.02)
[item] = server.get_queue_info()
assert item['id'] == waiting and item['why'].startswith('Build #2 is already in progress (ETA: '), item
if version == '2.300':
    [running] = server.get_running_builds()
    assert running['number'] == 2 and running['node'] == '(master)', running
else:  # python-jenkins 1.4 knows no name of that node but master
    assert refused(server.get_running_builds)
assert sum(not node['offline'] for node in server.get_nodes()) == 1
server.stop_build(name, number)
assert ended(name, number)['result'] == 'ABORTED'
output = server.get_build_console_output(name, number)
assert 'Aborted by %s\n' % user in output and output.endswith('Finished: ABORTED\n'), output
assert ended(name, started(waiting))['result'] == 'SUCCESS'

# cancel what waits: a job without parameters whose quiet period is long
server.create_job(folder + '/later', jenkins.EMPTY_CONFIG_XML.replace('<disabled>', '<quietPeriod>600</quietPeriod><disabled>'))
waiting = server.build_job(folder + '/later')
assert server.get_queue_item(waiting)['why'].startswith('In the quiet period. Expires in ')
assert refused(server.cancel_queue, waiting)  # python-jenkins 1.4 takes 204, which Jenkins says since 2.211, for no answer
assert server.get_queue_item(waiting)['cancelled'] and server.get_queue_info() == []
server.cancel_queue(987654)

# change
server.reconfig_job(folder + '/later', JOB.replace('echo', 'exit 7; echo'))
assert ended(folder + '/later', started(server.build_job(folder + '/later', {'WHO': 'x'})))['result'] == 'FAILURE'
server.disable_job(name)
assert not server.get_job_info(name)['buildable']
try:
    server.build_job(name, {'WHO': 'nobody'})
    raise AssertionError('a disabled job is built')
except Exception as problem:
    assert '409' in str(problem), problem
server.enable_job(name)
server.copy_job(name, folder + '/copy')
assert not server.get_job_info(folder + '/copy')['buildable']  # before somebody saves it
server.reconfig_job(folder + '/copy', server.get_job_config(folder + '/copy'))
assert ended(folder + '/copy', started(server.build_job(folder + '/copy', {'WHO': 'copy'})))['result'] == 'SUCCESS'
server.delete_job(folder + '/copy')

# what is not there, and who may not come in
assert refused(server.get_job_info, 'none') and refused(server.get_queue_item, 987654)
assert server.get_build_test_report(name, 2) is None
assert refused(jenkins.Jenkins(url, username=user, password='wrong').get_whoami)

server.quiet_down()
server.delete_job(folder)
assert not server.job_exists(name)
print('driven')
